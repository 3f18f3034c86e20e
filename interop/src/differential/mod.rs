//! Zones by chance and answers that were tampered with by chance: what this implementation makes of them, and what unbound and delv do.
//!
//! A case follows from the seed of its universe and its number. Everyone is told the same.

mod forge;
pub mod judge;
pub mod keys;
pub mod liar;
pub mod lies;
pub mod message;
pub mod random;
mod scrub;
pub mod universe;
pub mod validators;
