//! Faults of earlier versions, each with a patch that reintroduces it: `tests/undone/*.patch`.
//!
//! A patch begins with four lines: the fault, the check that finds it, the command that runs this
//! check, and a text that the command prints when it has found the fault. A unified diff follows.
//! The line numbers in the diff are ignored: each hunk applies where its old lines are, so a patch
//! survives changes elsewhere in the file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::guide::root;

/// A fault that was fixed, and the patch that undoes the fix.
#[derive(Debug)]
pub struct Undone {
    /// The name of the file, without `.patch`.
    pub name: String,
    /// What happens because of the fault.
    pub fault: String,
    /// The check that finds it.
    pub check: String,
    /// The command that runs the check. Environment variables may precede the program.
    pub command: String,
    /// A text that the command prints when it has found the fault.
    pub shows: String,
    hunks: Vec<Hunk>,
}

/// Lines of a file to replace.
#[derive(Debug, PartialEq)]
struct Hunk {
    file: String,
    old: String,
    new: String,
}

impl Undone {
    /// Reads all patches, in the order of their names.
    ///
    /// # Panics
    ///
    /// Panics if a patch cannot be read or parsed.
    pub fn all() -> Vec<Undone> {
        let files = fs::read_dir(root().join("tests/undone")).expect("the folder exists");
        let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
        paths.sort();
        let read = |path: &Path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let text = fs::read_to_string(path).expect("a patch is text");
            Undone::parse(&name, &text).unwrap_or_else(|error| panic!("{name}.patch: {error}"))
        };
        paths.iter().map(|path| read(path)).collect()
    }

    fn parse(name: &str, text: &str) -> Result<Undone, String> {
        let (head, diff) = text.split_once("\n\n").ok_or("no empty line before the diff")?;
        let field = |key: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            let value = lines.find_map(|(found, value)| (found == key).then(|| value.to_owned()));
            value.ok_or_else(|| format!("no line `{key}: …`"))
        };
        let hunks = hunks(diff)?;
        if hunks.is_empty() {
            return Err("no hunk".to_owned());
        }
        Ok(Undone {
            name: name.to_owned(),
            fault: field("Fault")?,
            check: field("Check")?,
            command: field("Command")?,
            shows: field("Shows")?,
            hunks,
        })
    }

    /// Applies the patch to the files in a folder. Returns the paths and the new texts, without
    /// writing them.
    ///
    /// # Errors
    ///
    /// Returns a message if a file cannot be read, or does not contain the old lines of a hunk
    /// exactly once.
    pub fn apply(&self, folder: &Path) -> Result<BTreeMap<String, String>, String> {
        let mut changed = BTreeMap::new();
        for Hunk { file, old, new } in &self.hunks {
            let text = match changed.get(file) {
                Some(text) => String::clone(text),
                None => fs::read_to_string(folder.join(file))
                    .map_err(|error| format!("cannot read {file}: {error}"))?,
            };
            let places = text.matches(old.as_str()).count();
            if places != 1 {
                return Err(format!("{file} contains these lines {places} times:\n{old}"));
            }
            changed.insert(file.clone(), text.replacen(old.as_str(), new, 1));
        }
        Ok(changed)
    }
}

/// Reads the hunks of a unified diff.
fn hunks(diff: &str) -> Result<Vec<Hunk>, String> {
    let (mut hunks, mut file) = (Vec::new(), "");
    for line in diff.lines() {
        if line.starts_with("--- ") {
            continue;
        }
        if let Some(path) = line.strip_prefix("+++ ") {
            file = path.strip_prefix("b/").unwrap_or(path);
            continue;
        }
        if line.starts_with("@@ ") {
            hunks.push(Hunk { file: file.to_owned(), old: String::new(), new: String::new() });
            continue;
        }
        let hunk: &mut Hunk = hunks.last_mut().ok_or("a line before the first hunk")?;
        // Editors may remove the space of an empty line.
        let (kind, text) = line.split_at_checked(1).unwrap_or((" ", ""));
        for (side, skipped) in [(&mut hunk.old, "+"), (&mut hunk.new, "-")] {
            if kind != skipped {
                side.push_str(text);
                side.push('\n');
            }
        }
        if ![" ", "+", "-"].contains(&kind) {
            return Err(format!("a line of a diff begins with a space, + or -: {line}"));
        }
    }
    Ok(hunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Fault: f\nCheck: m\nCommand: c: d\nShows: s\n\n";

    fn parse(diff: &str) -> Result<Undone, String> {
        Undone::parse("name", &format!("{HEAD}{diff}"))
    }

    #[test]
    fn patch_is_read_with_its_head_and_both_sides_of_its_hunks() {
        let undone = parse("--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n\n").unwrap();
        assert_eq!((&*undone.command, &*undone.shows), ("c: d", "s"));
        let [hunk] = &undone.hunks[..] else { panic!("one hunk") };
        assert_eq!((&*hunk.file, &*hunk.old, &*hunk.new), ("x", "one\ntwo\n\n", "one\n2\n\n"));
        assert!(parse("").is_err());
        assert!(parse("@@ -1 +1 @@\nx\n").is_err());
        assert!(Undone::parse("name", "Fault: f\n\n").is_err());
    }

    #[test]
    fn patch_whose_lines_are_gone_names_the_file_and_the_lines() {
        let gone =
            parse("--- a/Cargo.toml\n+++ b/Cargo.toml\n@@ -1 +1 @@\n-no such line\n").unwrap();
        let error = gone.apply(root()).unwrap_err();
        assert!(error.contains("Cargo.toml") && error.contains("no such line"), "{error}");
    }

    // A patch that no longer applies would never be run again. If the code has changed, change the
    // patch so that it brings the same fault into the new code.
    #[test]
    fn every_patch_applies() {
        let all = Undone::all();
        assert!(all.len() >= 15);
        let failed = all.iter().filter_map(|undone| match undone.apply(root()) {
            Ok(changed) => changed.is_empty().then(|| format!("{}: changes nothing", undone.name)),
            Err(error) => Some(format!("{}: {error}", undone.name)),
        });
        assert_eq!(failed.collect::<Vec<_>>(), [""; 0]);
    }
}
