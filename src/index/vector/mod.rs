//! The approximate index over a vector column: clusters of RaBitQ codes.

#[cfg_attr(not(test), expect(dead_code, reason = "the builder comes next"))]
mod quantizer;
#[cfg_attr(not(test), expect(dead_code, reason = "the builder comes next"))]
mod rotation;
