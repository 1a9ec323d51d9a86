//! The JSON form of vectors in requests: an array of numbers is one of 32-bit floats, other types are named.

use half::f16;
use serde_json::Value as Json;

use super::Vector;
use crate::json::{Fields, JsonForm, Object, Path};

// Numbers in JSON have no type. Without a name for it, a vector of integers would be one of floats, which no column of
// integers takes.
const F16: &str = "f16";
const I8: &str = "i8";

impl JsonForm for Vector {
    fn to_json(&self) -> Result<Json, String> {
        match self {
            Self::F32(components) => components.to_json(),
            Self::F16(components) => Fields::of(F16, components),
            Self::I8(components) => Fields::of(I8, components),
        }
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        if json.is_array() {
            return Vec::from_json(json, path).map(Self::F32);
        }
        let (kind, object) = Object::tagged(json, path, &[(F16, &[]), (I8, &[])])?;
        if kind == I8 {
            return object.need(I8).map(Self::I8);
        }
        object.need(F16).map(Self::F16)
    }
}

impl JsonForm for f16 {
    fn to_json(&self) -> Result<Json, String> {
        self.to_f32().to_json()
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let number = Self::from_f32(f32::from_json(json, path)?);
        // Rounding makes an infinity of what is too large, and a distance from there is no number.
        if number.is_finite() {
            return Ok(number);
        }
        Err(path.error("it is beyond the range of half precision"))
    }
}
