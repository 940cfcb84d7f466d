//! Measures the cost of completion for files in the page cache: reads through the ring and through
//! the blocking pool, beside the blocking calls of std. Each row is the best of 15 runs: the time,
//! and its ratio to the time of std.
//!
//! `cargo run --release -p reactor-uring --example measure -- FOLDER`

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::future::Future;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};
    use std::{env, fs, io, process};

    use executor::{JoinSet, block_on};
    use reactor::blocking::unblock;
    use reactor_uring::{File, Ring};

    const FILES: usize = 1000;
    const SMALL: usize = 4 << 10;
    const LARGE: usize = 256 << 20;
    const RUNS: usize = 15;

    pub(super) fn main() -> io::Result<()> {
        let parent = env::args_os().nth(1).map_or_else(env::temp_dir, PathBuf::from);
        let folder = parent.join(format!("reactor-uring-{}", process::id()));
        fs::create_dir(&folder)?;
        let measured = measure(&folder);
        fs::remove_dir_all(&folder)?;
        measured
    }

    fn measure(folder: &Path) -> io::Result<()> {
        let paths: Vec<PathBuf> = (0..FILES).map(|n| folder.join(n.to_string())).collect();
        for path in &paths {
            fs::write(path, vec![1; SMALL])?;
        }
        let large = folder.join("large");
        fs::write(&large, vec![1; LARGE])?;
        let large = std::slice::from_ref(&large);

        let std = || paths.iter().try_for_each(|path| read_by_std(path));
        let base = best(std);
        row("1,000 files, one after another, std", base, base);
        row("1,000 files, one after another, ring", best(|| one_by_one(&paths, ring)), base);
        row("1,000 files, one after another, pool", best(|| one_by_one(&paths, pool)), base);
        row("1,000 files, concurrently, ring", best(|| concurrently(&paths, ring)), base);
        row("1,000 files, concurrently, pool", best(|| concurrently(&paths, pool)), base);
        let base = best(|| read_by_std(&large[0]));
        row("one file of 256 MiB, std", base, base);
        row("one file of 256 MiB, ring", best(|| one_by_one(large, ring)), base);
        row("one file of 256 MiB, pool", best(|| one_by_one(large, pool)), base);
        let base = best(|| reads_by_std(&paths[0]));
        row("1,000 reads from one open file, std", base, base);
        let ring = best(|| block_on(reads_by_ring(&paths[0])));
        row("1,000 reads from one open file, ring", ring, base);
        Ok(())
    }

    async fn reads_by_ring(path: &Path) -> io::Result<()> {
        let ring = Ring::new(64)?;
        let file = File::open(&ring, path).await?;
        let mut buffer = vec![0; SMALL];
        for _ in 0..1000 {
            let result;
            (result, buffer) = file.read_at(buffer, 0).await;
            result?;
        }
        Ok(())
    }

    fn reads_by_std(path: &Path) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let file = fs::File::open(path)?;
        let mut buffer = vec![0; SMALL];
        for _ in 0..1000 {
            file.read_at(&mut buffer, 0)?;
        }
        Ok(())
    }

    fn row(what: &str, time: Duration, base: Duration) {
        let ratio = time.as_secs_f64() / base.as_secs_f64();
        println!("{what:36} {:8.2} ms {ratio:6.2}", time.as_secs_f64() * 1e3);
    }

    fn best(mut f: impl FnMut() -> io::Result<()>) -> Duration {
        let once = |_| {
            let start = Instant::now();
            f().expect("the files can be read");
            start.elapsed()
        };
        (0..RUNS).map(once).min().expect("there is at least one run")
    }

    fn read_by_std(path: &Path) -> io::Result<()> {
        fs::read(path).map(drop)
    }

    async fn ring(ring: Ring, path: PathBuf) -> io::Result<()> {
        let file = File::open(&ring, path).await?;
        file.read_to_end().await?;
        file.close().await
    }

    async fn pool(_: Ring, path: PathBuf) -> io::Result<()> {
        unblock(|| fs::read(path)).await.map(drop)
    }

    fn one_by_one<F>(paths: &[PathBuf], read: fn(Ring, PathBuf) -> F) -> io::Result<()>
    where
        F: Future<Output = io::Result<()>> + 'static,
    {
        block_on(async {
            let ring = Ring::new(64)?;
            for path in paths {
                read(ring.clone(), path.clone()).await?;
            }
            Ok(())
        })
    }

    fn concurrently<F>(paths: &[PathBuf], read: fn(Ring, PathBuf) -> F) -> io::Result<()>
    where
        F: Future<Output = io::Result<()>> + 'static,
    {
        block_on(async {
            let ring = Ring::new(64)?;
            let mut reads = JoinSet::new();
            for path in paths {
                reads.spawn(read(ring.clone(), path.clone()));
            }
            while let Some(result) = reads.join_next().await {
                result??;
            }
            Ok(())
        })
    }
}
