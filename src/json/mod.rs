//! The JSON form of what an application receives from its clients: reading that says where a mistake is, and writing.
//!
//! [`JsonForm`] is implemented next to each type, and serde goes through it ([`impl_serde`]). serde's own derives would
//! not do: the path of an error is lost in them wherever an enum is tried variant by variant.

mod object;
mod path;
mod scalars;
mod tree;

pub(crate) use object::{Fields, Object};
pub(crate) use path::Path;
pub(crate) use scalars::json_names;
use tree::Tree;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

/// The deepest nesting that is read. It is beyond what any query may have, and far from the end of the stack.
// A text query of 32 levels takes three levels of JSON each at most, a rank in it as many again, and a filter counts its
// own. Each level of reading is a stack frame of some hundred bytes.
const DEPTH_MAX: usize = 256;

/// A type with a documented JSON form.
pub(crate) trait JsonForm: Sized {
    /// Writes it. The error says what has no JSON form.
    fn to_json(&self) -> Result<Json, String>;

    /// Reads it. The error says what is wrong, and where.
    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String>;
}

/// Serde by way of the JSON form, for types that are documents of their own. `$what` names one in errors.
macro_rules! impl_serde {
    ($($form:ty: $what:literal),+) => {
        $(impl serde::Serialize for $form {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                crate::json::serialize(self, to)
            }
        }

        impl<'de> serde::Deserialize<'de> for $form {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                crate::json::deserialize($what, from)
            }
        })+
    };
}
pub(crate) use impl_serde;

pub(crate) fn serialize<F: JsonForm, S: Serializer>(form: &F, to: S) -> Result<S::Ok, S::Error> {
    form.to_json().map_err(S::Error::custom)?.serialize(to)
}

pub(crate) fn deserialize<'de, F: JsonForm, D: Deserializer<'de>>(
    what: &'static str,
    from: D,
) -> Result<F, D::Error> {
    // As a tree first: kinds are told apart by their fields, which come in any order.
    let Tree(json) = Tree::deserialize(from)?;
    F::from_json(&json, &Path::Root(what)).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Point {
        x: f32,
        tags: Vec<String>,
        depth: Option<usize>,
    }

    impl JsonForm for Point {
        fn to_json(&self) -> Result<Json, String> {
            Ok(Fields::new()
                .put("x", &self.x)?
                .put("tags", &self.tags)?
                .put_some("depth", self.depth.as_ref())?
                .end())
        }

        fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
            let object = Object::new(json, path, &["x", "tags", "depth"])?;
            let tags = object.get_or_else("tags", Vec::new)?;
            Ok(Self { x: object.need("x")?, tags, depth: object.get("depth")? })
        }
    }

    fn read(json: &str) -> Result<Point, String> {
        let json: Json = serde_json::from_str(json).map_err(|error| error.to_string())?;
        Point::from_json(&json, &Path::Root("point"))
    }

    #[test]
    fn a_form_is_written_as_it_is_read() {
        for json in [r#"{"tags":["a"],"x":0.1}"#, r#"{"depth":3,"tags":[],"x":-0.0}"#] {
            assert_eq!(read(json).unwrap().to_json().unwrap().to_string(), json);
        }
        assert_eq!(read(r#"{"x":1,"depth":null}"#), Ok(Point { x: 1.0, tags: vec![], depth: None }));
        assert!(Point { x: f32::NAN, tags: vec![], depth: None }.to_json().unwrap_err().contains("NaN"));
    }

    #[test]
    fn every_number_of_single_precision_reads_back() {
        let mut bits = 0x1234_5678_u32;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
            let number = f32::from_bits(bits);
            if number.is_finite() {
                let text = number.to_json().unwrap().to_string();
                let read =
                    f32::from_json(&serde_json::from_str(&text).unwrap(), &Path::Root("number")).unwrap();
                assert_eq!(read.to_bits(), bits, "{text}");
            }
        }
    }

    #[test]
    fn a_mistake_has_a_place_and_a_reason() {
        for (json, error) in [
            ("7", "bad point at $: it is no object"),
            ("{}", "bad point at $: a field is missing. field=`x`"),
            (
                r#"{"x":1,"y":2}"#,
                "bad point at $: unknown field: it may have `x`, `tags`, `depth`. field=`y`",
            ),
            (r#"{"x":"1"}"#, "bad point at $.x: it is no number"),
            (r#"{"x":1e39}"#, "bad point at $.x: it is beyond the range of single precision"),
            (r#"{"x":1,"tags":["a",3]}"#, "bad point at $.tags[1]: it is no string"),
            (
                r#"{"x":1,"depth":-1}"#,
                "bad point at $.depth: it is no integer from 0 to 18446744073709551615",
            ),
            (
                r#"{"x":1,"depth":1.5}"#,
                "bad point at $.depth: it is no integer from 0 to 18446744073709551615",
            ),
        ] {
            assert_eq!(read(json), Err(error.to_owned()), "{json}");
        }
    }
}
