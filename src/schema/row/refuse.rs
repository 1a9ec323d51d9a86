//! Macros for the many methods of serde's `Serializer` that a row or a value cannot accept.

/// Methods that return `$why` as an error, whatever they get.
macro_rules! refuse_methods {
    ($why:expr, $ok:ty; $($method:ident($($type:ty),*);)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<$ok, RowError> {
            Err(RowError::invalid($why))
        }
    )*};
}
pub(super) use refuse_methods;

/// The three methods for enum variants with data. They are written once because neither a row nor a value accepts
/// such a variant: columns are flat, and there is no column for the tag.
macro_rules! refuse_data_variants {
    ($why:expr, $ok:ty) => {
        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<$ok, RowError> {
            Err(RowError::invalid($why))
        }

        refuse_methods! { $why, Impossible<$ok, RowError>;
            serialize_tuple_variant(&'static str, u32, &'static str, usize);
            serialize_struct_variant(&'static str, u32, &'static str, usize);
        }
    };
}
pub(super) use refuse_data_variants;
