//! Files: a small log search, over all files of a folder concurrently.
//!
//! A file that is in the page cache is read on this thread. Other calls run on the thread pool
//! while their tasks wait.

use std::path::{Path, PathBuf};

use executor::{JoinSet, block_on};
use futures_lite::StreamExt;
use reactor::fs::{self, File, OpenOptions};
use reactor::io::{self, AsyncBufReadExt, AsyncWriteExt, BufReader};

fn main() -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("files-{}", std::process::id()));
    block_on(async {
        fs::create_dir_all(&folder).await?;
        let result = write_and_search(&folder).await;
        fs::remove_dir_all(&folder).await?;
        result
    })
}

async fn write_and_search(folder: &Path) -> io::Result<()> {
    for day in 1..=3 {
        let mut log = File::create(folder.join(format!("day-{day}.log"))).await?;
        log.write_all(b"start\n").await?;
    }
    let mut log = OpenOptions::new().append(true).open(folder.join("day-2.log")).await?;
    log.write_all(b"error: it rains\n").await?;
    log.sync_all().await?;

    let mut searches = JoinSet::new();
    let mut entries = fs::read_dir(folder).await?;
    while let Some(entry) = entries.next().await {
        searches.spawn(search(entry?.path()));
    }
    while let Some(found) = searches.join_next().await {
        found??.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

/// Returns the lines of a file that contain `error`.
async fn search(path: PathBuf) -> io::Result<Vec<String>> {
    let name = path.file_name().unwrap_or_default().display().to_string();
    let mut found = Vec::new();
    let mut lines = BufReader::new(File::open(path).await?).lines();
    while let Some(line) = lines.next().await {
        let line = line?;
        found.extend(line.contains("error").then(|| format!("{name}: {line}")));
    }
    Ok(found)
}
