//! How long the files of the first two rings of reading are, and how much of them is comment.
//!
//! ```text
//! cargo run -q -p tests --example sizes
//! ```
//!
//! Code and comment are counted in lines, and so are the median and the longest function. Empty
//! lines and unit tests do not count.

use tests::sizes::{Size, table};

fn main() {
    let rings = Size::of_rings();
    println!("{}\n{}", table("first ring", &rings[0]), table("second ring", &rings[1]).trim_end());
}
