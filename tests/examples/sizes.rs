//! How long the files of the first two rings of reading are, and how much of them is comment.
//!
//! ```text
//! cargo run -q -p tests --example sizes
//! ```
//!
//! Code and comment are counted in lines, and so are the median and the longest function. Empty
//! lines and unit tests do not count.

use tests::guide::{read, rings};
use tests::sizes::Size;

fn main() {
    for (ring, files) in ["first ring", "second ring"].iter().zip(rings()) {
        println!("{ring:25}  code  comment  ratio  functions  median  longest");
        let mut all = Size::default();
        for (path, _) in files {
            let size = Size::of(&read(&path));
            println!("{path:25}{}", row(&size));
            all.add(size);
        }
        println!("{:25}{}\n", "together", row(&all));
    }
}

fn row(size: &Size) -> String {
    let (code, comment, functions) = (size.code, size.comment, size.functions.len());
    let (longest, name) = size.longest();
    let (ratio, median) = (size.ratio(), size.median());
    format!("{code:6}{comment:9}{ratio:7.2}{functions:11}{median:8}  {longest} {name}")
}
