//! Changes of JSON that leave it JSON: a changed byte seldom does, and then only the parser is reached.

use serde_json::{Map, Value};

use super::mutator::Mutator;

/// Numbers at which fields change their nature.
const NUMBERS: [i64; 10] = [0, 1, -1, 2, 255, 65_536, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0000, i64::MAX];

impl Mutator<'_> {
    /// Replaces, removes or repeats one value of the JSON of an input, which may have a line in front. `false` if it has
    /// no JSON.
    pub(super) fn change_json(&mut self, input: &mut Vec<u8>) -> bool {
        let start = match input.first() {
            Some(b'{' | b'[' | b'"') => 0,
            _ => input.iter().position(|byte| *byte == b'\n').map_or(0, |line_end| line_end + 1),
        };
        let Ok(mut json) = serde_json::from_slice::<Value>(&input[start..]) else { return false };
        let values = count_values(&json);
        let (from, at) = (self.below(values), self.below(values));
        let donor = nth_value(&mut json, &mut { from }).cloned().unwrap_or_default();
        if let Some(value) = nth_value(&mut json, &mut { at }) {
            self.change_value(value, donor);
        }
        input.truncate(start);
        input.extend(json.to_string().into_bytes());
        true
    }

    fn change_value(&mut self, value: &mut Value, donor: Value) {
        let number = NUMBERS[self.below(NUMBERS.len())];
        match (self.below(8), value) {
            (0, Value::Object(fields)) => self.drop_field(fields),
            (0, Value::Array(items)) if !items.is_empty() => drop(items.remove(self.below(items.len()))),
            (1, Value::Array(items)) if !items.is_empty() => {
                let item = items[self.below(items.len())].clone();
                items.insert(self.below(items.len() + 1), item);
            }
            (1, Value::Object(fields)) => drop(fields.insert("later".into(), donor)),
            (2, value) => *value = Value::Null,
            (3, value) => *value = Value::String(String::new()),
            (4, value) => *value = Value::Array(vec![donor]),
            (5, value) => *value = donor,
            (_, Value::String(text)) => {
                let end = (0..=self.below(text.len() + 1)).rev().find(|at| text.is_char_boundary(*at));
                text.truncate(end.unwrap_or_default());
            }
            (_, value) => *value = number.into(),
        }
    }

    fn drop_field(&mut self, fields: &mut Map<String, Value>) {
        let name = fields.keys().nth(self.below(fields.len())).cloned();
        name.and_then(|name| fields.remove(&name));
    }
}

/// How many values there are within a value, itself included.
fn count_values(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count_values).sum(),
        Value::Object(fields) => fields.values().map(count_values).sum(),
        _ => 0,
    }
}

/// The value of a place, counted from the outside in.
fn nth_value<'a>(value: &'a mut Value, place: &mut usize) -> Option<&'a mut Value> {
    if *place == 0 {
        return Some(value);
    }
    *place -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth_value(item, place)),
        Value::Object(fields) => fields.values_mut().find_map(|field| nth_value(field, place)),
        _ => None,
    }
}
