//! Reads cached files: with std, with ours, and with the others.
//!
//! What was read is dropped at once by all of them, also by the tasks that read at the same time:
//! std, which has no such tasks, never holds more than one file.

use std::env;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process;
use std::rc::Rc;
use std::time::Instant;

use executor::Executor;
use monoio::{IoUringDriver, RuntimeBuilder};
use rustix::fs::statfs;

use crate::report::median;

const ROUNDS: usize = 31;
const FILES: usize = 1000;
const SMALL: usize = 4 * 1024;
const LARGE: usize = 256 * 1024 * 1024;

#[derive(Clone, Copy)]
enum Way {
    OneByOne,
    AllAtOnce,
}

/// Reads all of the files, and returns how many bytes there were.
type Peer = Box<dyn FnMut(Way, &[PathBuf]) -> Result<usize>>;

/// Measures in a folder of its own, in this one or in that for temporary files.
pub(crate) fn compare(parent: Option<String>) -> Result<()> {
    let folder = parent.map_or_else(env::temp_dir, PathBuf::from);
    println!(
        "cached files on {}: medians of {ROUNDS}, as ratios to std::fs",
        file_system(&folder)?
    );
    let folder = folder.join(format!("peers-files-{}", process::id()));
    fs::create_dir(&folder)?;
    let result = compare_in(&folder);
    fs::remove_dir_all(&folder)?;
    result
}

fn compare_in(folder: &Path) -> Result<()> {
    let small: Result<Vec<_>> =
        (0..FILES).map(|n| make(folder.join(n.to_string()), SMALL)).collect();
    let (small, large) = (small?, [make(folder.join("large"), LARGE)?]);
    // To write is to make pages that are dirty: what is measured shall not run beside the disk.
    rustix::fs::sync();

    let mut peers = peers()?;
    print!("{:24}", "");
    peers.iter().for_each(|(name, _)| print!("{name:>20}"));
    println!();
    row("1,000 of 4 KiB, in turn", &mut peers, Way::OneByOne, &small, ROUNDS)?;
    row("1,000 of 4 KiB, at once", &mut peers, Way::AllAtOnce, &small, ROUNDS)?;
    row("one of 256 MiB", &mut peers, Way::OneByOne, &large, ROUNDS / 3)
}

fn make(path: PathBuf, bytes: usize) -> Result<PathBuf> {
    fs::write(&path, vec![7; bytes])?;
    Ok(path)
}

/// One after the other in each round, and a first round that counts for nothing.
fn row(
    name: &str,
    peers: &mut [(&str, Peer)],
    way: Way,
    files: &[PathBuf],
    rounds: usize,
) -> Result<()> {
    let bytes =
        files.iter().map(|file| Ok(fs::metadata(file)?.len() as usize)).sum::<Result<_>>()?;
    let mut times = vec![Vec::new(); peers.len()];
    for round in 0..=rounds {
        for ((name, peer), times) in peers.iter_mut().zip(&mut times) {
            let start = Instant::now();
            let read: usize = peer(way, files)?;
            let time = start.elapsed().as_secs_f64();
            if read != bytes {
                return Err(Error::other(format!("{name} has read {read} of {bytes} bytes")));
            }
            times.extend((round > 0).then_some(time));
        }
    }
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    print!("{name:24}");
    medians.iter().for_each(|time| print!("{:>11.2} ms {:>5.2}x", time * 1e3, time / medians[0]));
    println!();
    Ok(())
}

fn peers() -> Result<Vec<(&'static str, Peer)>> {
    let mut peers =
        vec![("std::fs", std()), ("ours", ours()?), ("tokio::fs", tokio()?), ("async-fs", smol())];
    match monoio() {
        Ok(monoio) => peers.push(("monoio, io_uring", monoio)),
        Err(error) => println!("without monoio: no io_uring here: {error}"),
    }
    Ok(peers)
}

fn std() -> Peer {
    Box::new(|_, files| files.iter().map(|file| Ok(fs::read(file)?.len())).sum())
}

fn ours() -> Result<Peer> {
    let executor = Executor::new()?;
    Ok(Box::new(move |way, files| {
        executor.block_on(async {
            let mut bytes = 0;
            if let Way::OneByOne = way {
                for file in files {
                    bytes += reactor::fs::read(file).await?.len();
                }
                return Ok(bytes);
            }
            let read = async |file: PathBuf| reactor::fs::read(file).await.map(|bytes| bytes.len());
            let read = |file: &PathBuf| executor::spawn(read(file.clone()));
            let tasks: Vec<_> = files.iter().map(read).collect();
            for task in tasks {
                bytes += task.await.map_err(Error::other)??;
            }
            Ok(bytes)
        })
    }))
}

fn tokio() -> Result<Peer> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(Box::new(move |way, files| {
        runtime.block_on(async {
            let mut bytes = 0;
            if let Way::OneByOne = way {
                for file in files {
                    bytes += tokio::fs::read(file).await?.len();
                }
                return Ok(bytes);
            }
            let read = async |file: PathBuf| tokio::fs::read(file).await.map(|bytes| bytes.len());
            let read = |file: &PathBuf| tokio::spawn(read(file.clone()));
            let tasks: Vec<_> = files.iter().map(read).collect();
            for task in tasks {
                bytes += task.await??;
            }
            Ok(bytes)
        })
    }))
}

fn smol() -> Peer {
    let executor = Rc::new(smol::LocalExecutor::new());
    Box::new(move |way, files| {
        smol::block_on(executor.run(async {
            let mut bytes = 0;
            if let Way::OneByOne = way {
                for file in files {
                    bytes += smol::fs::read(file).await?.len();
                }
                return Ok(bytes);
            }
            let read = async |file: PathBuf| smol::fs::read(file).await.map(|bytes| bytes.len());
            let read = |file: &PathBuf| executor.spawn(read(file.clone()));
            let tasks: Vec<_> = files.iter().map(read).collect();
            for task in tasks {
                bytes += task.await?;
            }
            Ok(bytes)
        }))
    })
}

fn monoio() -> Result<Peer> {
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new().build()?;
    Ok(Box::new(move |way, files| {
        runtime.block_on(async {
            let mut bytes = 0;
            if let Way::OneByOne = way {
                for file in files {
                    bytes += monoio::fs::read(file).await?.len();
                }
                return Ok(bytes);
            }
            let read = async |file: PathBuf| monoio::fs::read(file).await.map(|bytes| bytes.len());
            let read = |file: &PathBuf| monoio::spawn(read(file.clone()));
            let tasks: Vec<_> = files.iter().map(read).collect();
            for task in tasks {
                bytes += task.await?;
            }
            Ok(bytes)
        })
    }))
}

/// The name of a file system, as far as we know it by its number.
fn file_system(folder: &Path) -> Result<String> {
    let number = statfs(folder)?.f_type as u64 & 0xffff_ffff;
    Ok(match number {
        0xef53 => "ext4".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        0x9123_683e => "btrfs".to_owned(),
        0xf2f5_2010 => "f2fs".to_owned(),
        0x794c_7630 => "overlayfs".to_owned(),
        0x0102_1994 => "tmpfs".to_owned(),
        0x6969 => "nfs".to_owned(),
        other => format!("the file system of number {other:#x}"),
    })
}
