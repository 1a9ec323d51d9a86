//! The shape of the source: imports go down one list of layers, files are short and say what they are, and
//! nothing is left lying about. What can be counted has a limit.

#[cfg(test)]
mod claims;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod measures;
#[cfg(test)]
mod modules;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod source;
