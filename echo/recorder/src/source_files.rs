//! The source files that events refer to, as they were when the recorder was built.

/// The path and text of files of the runtime, in the order in which to read them.
pub(crate) const FILES: [(&str, &str); 14] = [
    ("reactor/src/source.rs", include_str!("../../../reactor/src/source.rs")),
    ("reactor/src/reactor.rs", include_str!("../../../reactor/src/reactor.rs")),
    ("executor/src/task.rs", include_str!("../../../executor/src/task.rs")),
    ("executor/src/table.rs", include_str!("../../../executor/src/table.rs")),
    ("executor/src/inbox.rs", include_str!("../../../executor/src/inbox.rs")),
    ("executor/src/executor.rs", include_str!("../../../executor/src/executor.rs")),
    ("reactor/src/net/tcp.rs", include_str!("../../../reactor/src/net/tcp.rs")),
    ("reactor/src/budget.rs", include_str!("../../../reactor/src/budget.rs")),
    ("reactor/src/time/mod.rs", include_str!("../../../reactor/src/time/mod.rs")),
    ("reactor/src/pool/job.rs", include_str!("../../../reactor/src/pool/job.rs")),
    ("reactor/src/os/stdio.rs", include_str!("../../../reactor/src/os/stdio.rs")),
    ("reactor/src/os/signal.rs", include_str!("../../../reactor/src/os/signal.rs")),
    ("executor/src/join.rs", include_str!("../../../executor/src/join.rs")),
    ("reactor/src/io/copy.rs", include_str!("../../../reactor/src/io/copy.rs")),
];

/// The crates of the runtime.
pub(crate) const RUNTIME: [&str; 2] = ["reactor", "executor"];

/// Returns the text of a file of the runtime.
pub(crate) fn text(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
}

/// Returns the path in [`FILES`] of the file of a record, or `path` itself if the file is not there.
///
/// The path in a record depends on where the crate was built. In this workspace it is
/// `reactor/src/source.rs`. In a program that depends on the crate, it is the absolute path in a
/// checkout, and in a build of the crate alone it begins with `src`. The part that belongs to the crate
/// is the same in all of them, and `module`, which begins with the name of the crate, identifies the
/// crate.
pub(crate) fn known_path<'a>(module: &str, path: &'a str) -> &'a str {
    let name = module.split("::").next().unwrap_or(module);
    let is_it = |known: &str| {
        let own = known.strip_prefix(name).and_then(|own| own.strip_prefix('/'));
        let folder = own.and_then(|own| path.strip_suffix(own));
        folder.is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
    };
    FILES.iter().find(|(known, _)| is_it(known)).map_or(path, |(known, _)| known)
}

/// Returns the name of the folder of a crate, without a version, from the path of one of its files. In
/// this workspace, and in a checkout or the registry of Cargo, it is the name of the crate.
pub(crate) fn folder_of_crate(path: &str) -> &str {
    let folder = path.rsplit_once("/src/").map_or("", |(folder, _)| folder);
    let name = folder.rsplit('/').next().unwrap_or(folder);
    match name.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_of_a_crate_is_found_in_workspace_and_registry() {
        for (path, folder) in [
            ("/home/x/echo/reactor/src/net/tcp.rs", "reactor"),
            (
                "/home/x/.cargo/registry/src/index-1/futures-lite-2.6.1/src/future.rs",
                "futures-lite",
            ),
            ("/home/x/.cargo/registry/src/index-1/reactor-0.1.0/src/source.rs", "reactor"),
            ("/rustc/5980/library/core/src/future/poll_fn.rs", "core"),
            ("/home/x/echo/examples/chat.rs", ""),
            ("", ""),
        ] {
            assert_eq!(folder_of_crate(path), folder, "{path}");
        }
    }

    // Pitfall: V1
    #[test]
    fn files_are_found_wherever_their_crate_was_built() {
        for (known, _) in FILES {
            let (name, own) = known.split_once('/').expect("a folder for each crate");
            for folder in [
                "",
                "/home/x/.cargo/git/checkouts/echo-5a2b/1c9f/",
                // Named like another file of the crate, and like another crate.
                "/home/x/reactor/src/source.rs/executor/src/",
            ] {
                for path in [format!("{folder}{known}"), format!("{folder}{name}-0.1.0/{own}")] {
                    let path = path.leak();
                    assert_eq!(known_path(name, path), known, "{path}");
                    assert_eq!(known_path(&format!("{name}::module"), path), known, "{path}");
                }
            }
            // A build of the crate alone.
            assert_eq!(known_path(name, own), known);
        }
    }

    // Pitfall: V1
    #[test]
    fn files_of_other_crates_are_not_taken_for_the_runtimes() {
        for (module, path) in [
            ("mine::source", "/home/x/mine/src/source.rs"),
            ("reactor_mine::source", "/home/x/reactor/src/source.rs"),
            ("executor::source", "/home/x/executor/src/source.rs"),
            ("reactor::mod", "/home/x/reactor/src/mod.rs"),
            ("reactor::source", "/home/x/resource.rs"),
            ("reactor::source", "/home/x/reactor/other_src/source.rs"),
            ("", ""),
        ] {
            assert_eq!(known_path(module, path), path);
        }
    }
}
