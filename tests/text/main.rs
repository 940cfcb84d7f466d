//! Checks that the READMEs and the documentation are true.
//!
//! Links have targets, names exist, commands run and print the output that is shown, log records
//! are listed, and public items have documentation. No check prescribes a wording.
//!
//! `UPDATE_GUIDE=1 cargo test -p echo --test text` rewrites the transcripts, the
//! excerpts of code and the page of pitfalls.
//!
//! This is a test of the package `echo`, because cargo passes the path of `echod` only to its
//! tests.

mod dependencies;
mod docs;
mod excerpts;
mod guide;
mod items;
mod metadata;
mod names;
mod pitfalls;
mod records;
mod transcripts;
