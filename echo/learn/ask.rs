//! Three answers to one question: shown, asked for on a terminal, and explained after the run.
//!
//! `predict` and `fault` share this module. Which answer is right comes from the run.

use std::fmt::{self, Display};
use std::io::{self, ErrorKind, IsTerminal, Write, stdin, stdout};

/// Columns available for explanations.
const WIDTH: usize = 80;

/// The letters of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Letter {
    A,
    B,
    C,
}

impl Letter {
    const ALL: [Letter; 3] = [Letter::A, Letter::B, Letter::C];
}

impl Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One possible answer.
pub(crate) struct Answer {
    /// What would happen.
    pub(crate) text: &'static str,
    /// Why it happens or does not happen.
    pub(crate) why: &'static str,
}

/// Whether the user can be asked: standard input and standard output are terminals.
pub(crate) fn is_possible() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// Shows the answers.
pub(crate) fn show(question: &str, answers: &[Answer; 3]) -> io::Result<()> {
    let mut out = stdout();
    writeln!(out, "{}\n", wrapped(question, ""))?;
    for (letter, answer) in Letter::ALL.iter().zip(answers) {
        writeln!(out, "{}", wrapped(&format!("{letter}  {}", answer.text), "   "))?;
    }
    Ok(())
}

/// Reads the letter of an answer from the terminal.
///
/// # Errors
///
/// Returns [`ErrorKind::InvalidInput`] if the line is not one of the letters.
pub(crate) fn ask() -> io::Result<Letter> {
    write!(stdout(), "\nyour answer (A, B or C): ")?;
    stdout().flush()?;
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    let line = line.trim();
    let letter =
        Letter::ALL.into_iter().find(|letter| letter.to_string().eq_ignore_ascii_case(line));
    letter.ok_or_else(|| {
        let why = format!("{line:?} is not an answer; type A, B or C, or run it with --tell");
        io::Error::new(ErrorKind::InvalidInput, why)
    })
}

/// Explains each answer. `happened` is the one that the run has shown.
pub(crate) fn explain(
    answers: &[Answer; 3],
    happened: Option<Letter>,
    chosen: Option<Letter>,
) -> io::Result<()> {
    let mut out = stdout();
    for (letter, answer) in Letter::ALL.into_iter().zip(answers) {
        let verdict = if happened == Some(letter) { "right" } else { "wrong" };
        let text = format!("{letter}  {verdict}: {}", answer.why);
        writeln!(out, "{}", wrapped(&text, "   "))?;
    }
    match (chosen, happened) {
        (_, None) => writeln!(out, "\nthis run shows none of the three answers; run it again"),
        (Some(chosen), Some(happened)) if chosen == happened => {
            writeln!(out, "\nyour answer {chosen} is right")
        }
        (Some(chosen), Some(happened)) => {
            writeln!(out, "\nyour answer {chosen} is wrong; the run shows {happened}")
        }
        (None, Some(_)) => Ok(()),
    }
}

/// Breaks a text into lines, and indents all lines except the first.
pub(crate) fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        if column > indent.len() && column + 1 + word.len() > WIDTH {
            lines += "\n";
            lines += indent;
            column = indent.len();
        } else if column > 0 {
            lines += " ";
            column += 1;
        }
        lines += word;
        column += word.len();
    }
    lines
}
