//! All checks of text: that what the READMEs and the documentation say is so.
//!
//! Each of them protects a reader. Links lead somewhere, names exist, commands run and print what
//! is shown, records are listed, public items have documentation. None prescribes a wording.
//!
//! `UPDATE_GUIDE=1 cargo test -p echo --test text` rewrites the transcripts, the
//! excerpts of code and the page of pitfalls.
//!
//! This is a test of the package `echo`, because cargo tells only its tests where `echod` is.

mod docs;
mod excerpts;
mod guide;
mod items;
mod metadata;
mod names;
mod pitfalls;
mod records;
mod transcripts;
