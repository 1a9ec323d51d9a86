//! Objects: reading those of known fields, and writing them.

use serde_json::{Map, Value as Json};

use super::{JsonForm, Path};
use crate::error::escaped_start;

/// An object that has known fields alone. A field of null is one that is missing.
pub(crate) struct Object<'a> {
    fields: &'a Map<String, Json>,
    path: Path<'a>,
}

impl<'a> Object<'a> {
    pub(crate) fn new(json: &'a Json, path: &Path<'a>, known: &[&str]) -> Result<Self, String> {
        let fields = json.as_object().ok_or_else(|| path.error("it is no object"))?;
        Self { fields, path: *path }.with_known(known, |_| false)
    }

    /// This object, if it has known fields alone, and null in others that `may_be_null`.
    fn with_known(self, known: &[&str], may_be_null: impl Fn(&str) -> bool) -> Result<Self, String> {
        // A misspelt option that is ignored is a query that answers something else.
        let is_unknown = |(name, json): &(&String, &Json)| {
            !(known.contains(&name.as_str()) || (json.is_null() && may_be_null(name)))
        };
        if let Some((unknown, _)) = self.fields.iter().find(is_unknown) {
            let (unknown, known) = (escaped_start(unknown, 32), known.join("`, `"));
            return Err(self.error(format!("unknown field: it may have `{known}`. field=`{unknown}`")));
        }
        Ok(self)
    }

    /// An object of one of several kinds: each has a field that no other has, and further ones.
    pub(crate) fn tagged(
        json: &'a Json,
        path: &Path<'a>,
        kinds: &[(&'static str, &[&str])],
    ) -> Result<(&'static str, Self), String> {
        let fields = json.as_object().ok_or_else(|| path.error("it is no object"))?;
        let object = Self { fields, path: *path };
        // With two of them, one would be ignored.
        let found: Vec<_> = kinds.iter().filter(|(kind, _)| object.has(kind)).collect();
        if let [(kind, others)] = found[..] {
            // A client with a field for each kind writes null for the others.
            let is_kind = |name: &str| kinds.iter().any(|(kind, _)| *kind == name);
            return Ok((*kind, object.with_known(&[&[*kind], *others].concat(), is_kind)?));
        }
        let names: Vec<_> = kinds.iter().map(|(kind, _)| *kind).collect();
        let (names, count) = (names.join("`, `"), found.len());
        Err(path.error(format!("it must have exactly one of `{names}`. found=`{count}`")))
    }

    /// A field, if the object has it.
    pub(crate) fn get<T: JsonForm>(&self, name: &'static str) -> Result<Option<T>, String> {
        let read = |json| T::from_json(json, &Path::Field(&self.path, name));
        self.present(name).map(read).transpose()
    }

    /// A field, or its default.
    pub(crate) fn get_or_else<T: JsonForm>(
        &self,
        name: &'static str,
        default: impl FnOnce() -> T,
    ) -> Result<T, String> {
        Ok(self.get(name)?.unwrap_or_else(default))
    }

    /// A field that must be there.
    pub(crate) fn need<T: JsonForm>(&self, name: &'static str) -> Result<T, String> {
        self.get(name)?.ok_or_else(|| self.missing(name))
    }

    /// An object in a field that must be there.
    pub(crate) fn object(&self, name: &'static str, known: &[&str]) -> Result<Object<'_>, String> {
        let json = self.present(name).ok_or_else(|| self.missing(name))?;
        Object::new(json, &Path::Field(&self.path, name), known)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.present(name).is_some()
    }

    /// A message about the object.
    pub(crate) fn error(&self, why: impl std::fmt::Display) -> String {
        self.path.error(why)
    }

    fn missing(&self, name: &str) -> String {
        self.error(format!("a field is missing. field=`{name}`"))
    }

    fn present(&self, name: &str) -> Option<&'a Json> {
        // Clients that serialize an option write null for none.
        self.fields.get(name).filter(|json| !json.is_null())
    }
}

/// An object that is written.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Fields(Map<String, Json>);

impl Fields {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An object of one field.
    pub(crate) fn of(name: &str, value: &impl JsonForm) -> Result<Json, String> {
        Ok(Self::new().put(name, value)?.end())
    }

    pub(crate) fn put(mut self, name: &str, value: &impl JsonForm) -> Result<Self, String> {
        self.0.insert(name.to_owned(), value.to_json()?);
        Ok(self)
    }

    /// Adds a field that is not its default.
    // A query that was written by one version follows the defaults of the one that runs it.
    pub(crate) fn put_unless<T: JsonForm + PartialEq>(
        self,
        default: &T,
        name: &str,
        value: &T,
    ) -> Result<Self, String> {
        if value == default { Ok(self) } else { self.put(name, value) }
    }

    /// Adds an object.
    pub(crate) fn put_object(mut self, name: &str, object: Self) -> Self {
        self.0.insert(name.to_owned(), object.end());
        self
    }

    pub(crate) fn put_some(self, name: &str, value: Option<&impl JsonForm>) -> Result<Self, String> {
        match value {
            Some(value) => self.put(name, value),
            None => Ok(self),
        }
    }

    /// The object as the only field of another.
    pub(crate) fn within(self, name: &str) -> Json {
        Json::from_iter([(name, self.end())])
    }

    pub(crate) fn end(self) -> Json {
        Json::Object(self.0)
    }
}
