//! JSON forms of numbers, strings, lists and names.

use serde_json::{Number, Value as Json};

use super::{JsonForm, Path};

impl JsonForm for bool {
    fn to_json(&self) -> Result<Json, String> {
        Ok(Json::Bool(*self))
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        json.as_bool().ok_or_else(|| path.error("it is neither true nor false"))
    }
}

impl JsonForm for String {
    fn to_json(&self) -> Result<Json, String> {
        Ok(Json::String(self.clone()))
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        json.as_str().map(str::to_owned).ok_or_else(|| path.error("it is no string"))
    }
}

macro_rules! integers {
    ($($integer:ty),+) => {
        $(impl JsonForm for $integer {
            fn to_json(&self) -> Result<Json, String> {
                Ok(Json::from(*self))
            }

            fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
                // From both: an integer above the signed ones has no signed form, and one below zero no unsigned.
                // A float with an integral value is no integer: 1e3 for a limit is more likely a mistake than meant.
                let signed = json.as_i64().and_then(|number| Self::try_from(number).ok());
                let integer = signed.or_else(|| json.as_u64().and_then(|number| Self::try_from(number).ok()));
                let range = || format!("it is no integer from {} to {}", Self::MIN, Self::MAX);
                integer.ok_or_else(|| path.error(range()))
            }
        })+
    };
}
integers!(i8, u8, u32, u64, usize);

impl JsonForm for f64 {
    fn to_json(&self) -> Result<Json, String> {
        Number::from_f64(*self).map(Json::Number).ok_or_else(|| format!("JSON has no number for {self}"))
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        // An integer beyond 53 bits is rounded, as every reader of JSON that knows doubles alone would do.
        json.as_f64().ok_or_else(|| path.error("it is no number"))
    }
}

impl JsonForm for f32 {
    // By its shortest decimal form: 0.1 is written as 0.1, and not as the double that is nearest to it.
    fn to_json(&self) -> Result<Json, String> {
        let decimal = self.to_string().parse::<f64>().map_err(|error| error.to_string())?;
        decimal.to_json()
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        #[expect(clippy::cast_possible_truncation, reason = "rounded, and what is out of range is refused")]
        let number = f64::from_json(json, path)? as Self;
        if number.is_finite() {
            return Ok(number);
        }
        Err(path.error("it is beyond the range of single precision"))
    }
}

impl<T: JsonForm> JsonForm for Box<T> {
    fn to_json(&self) -> Result<Json, String> {
        T::to_json(self)
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        T::from_json(json, path).map(Self::new)
    }
}

impl<T: JsonForm> JsonForm for Vec<T> {
    fn to_json(&self) -> Result<Json, String> {
        Ok(Json::Array(self.iter().map(T::to_json).collect::<Result<_, _>>()?))
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let items = json.as_array().ok_or_else(|| path.error("it is no array"))?;
        items.iter().enumerate().map(|(at, item)| T::from_json(item, &Path::Item(path, at))).collect()
    }
}

/// The JSON form of an enum without data, from the list of its names.
macro_rules! json_names {
    ($form:ty { $($name:literal: $variant:ident),+ }) => {
        impl crate::json::JsonForm for $form {
            fn to_json(&self) -> Result<serde_json::Value, String> {
                Ok(serde_json::Value::from(match self {
                    $(Self::$variant => $name),+
                }))
            }

            fn from_json(json: &serde_json::Value, path: &crate::json::Path<'_>) -> Result<Self, String> {
                match json.as_str() {
                    $(Some($name) => Ok(Self::$variant),)+
                    _ => Err(path.error(concat!("it is none of", $(" `", $name, "`"),+))),
                }
            }
        }
    };
}
pub(crate) use json_names;
