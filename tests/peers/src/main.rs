//! Measures our runtime beside tokio, smol, monoio and a raw mio loop.
//!
//! ```text
//! cargo run --release -p peers                    all of the tables in README.md, and the plot
//! cargo run --release -p peers -- readme          the same, written into the READMEs
//! cargo run --release -p peers -- echo            only messages; also executors, connections
//! cargo run --release -p peers -- instructions    instructions and data misses (needs valgrind)
//! cargo run --release -p peers -- guard           fails if ours needs more of them than it should
//! cargo run --release -p peers -- files [FOLDER]  cached files, as ratios to std::fs
//! cargo run --release -p peers -- http [CELL]     HTTP/1, HTTP/2, HTTPS and WebSocket below hyper
//! cargo run --release -p peers -- http-instructions [CELL]   the same, instructions per request
//! ```
//!
//! All runtimes are measured in the same run, in turn in each round, and a figure is the median of
//! several rounds. The server or the executor has one core and the load another. Absolute times
//! mean little on a small machine, ratios do.

mod connections;
mod counts;
mod echo;
mod executors;
mod files;
mod heap;
#[cfg(feature = "http")]
mod http;
// Parts of it serve only HTTP.
#[cfg_attr(not(feature = "http"), allow(dead_code))]
mod load;
mod process;
mod report;
mod runtimes;
mod servers;

use std::io::{Error, Result};
use std::path::Path;
use std::{env, fs};

use process::SERVER;
use report::{Table, median};
use servers::SERVERS;

fn main() -> Result<()> {
    if let Ok(name) = env::var(SERVER) {
        return serve(&name);
    }
    if let Ok(act) = env::var(counts::ACT) {
        return counts::act(&act);
    }
    let argument = env::args().nth(2);
    match env::args().nth(1).as_deref() {
        None | Some("all") => print(&measure_all()?),
        Some("readme") => write(&measure_all()?),
        Some("echo") => print(&echo::measure()?),
        Some("executors") => print(&executors::measure()?),
        Some("connections") => print(&connections::measure()?),
        Some("instructions") => print(&counts::measure()?),
        Some("guard") => counts::guard(),
        Some("files") => files::compare(argument),
        #[cfg(feature = "http")]
        Some("http") => http::throughput(&argument.unwrap_or_default()),
        #[cfg(feature = "http")]
        Some("http-instructions") => http::instructions(&argument.unwrap_or_default()),
        Some(other) => {
            eprintln!(
                "peers: {other}: no such measurement; there are `all`, `readme`, `echo`, \
                 `executors`, `connections`, `instructions`, `guard`, `files`, `http` and \
                 `http-instructions`"
            );
            std::process::exit(2);
        }
    }
}

/// Runs as one of the servers.
fn serve(name: &str) -> Result<()> {
    #[cfg(feature = "http")]
    if let Some(result) = http::serve(name) {
        return result;
    }
    let server = SERVERS.iter().find(|(server, _)| *server == name);
    server.ok_or_else(|| Error::other(format!("{SERVER} names no server")))?.1()
}

/// Prints tables, and writes their plot beside the program.
fn print(tables: &[Table]) -> Result<()> {
    let plot = env::current_exe()?.with_file_name("peers.svg");
    fs::write(&plot, report::plot(tables))?;
    println!("{}", report::markdown(tables));
    println!("The plot is in {}.", plot.display());
    Ok(())
}

/// Measures all that the READMEs show.
fn measure_all() -> Result<Vec<Table>> {
    let mut tables = echo::measure()?;
    tables.extend(executors::measure()?);
    tables.extend(connections::measure()?);
    tables.extend(counts::measure()?);
    Ok(tables)
}

/// Writes the tables and the plot into the READMEs.
fn write(tables: &[Table]) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::write(folder.join("plot.svg"), report::plot(tables))?;
    let circumstances = report::circumstances();
    let all = format!("{circumstances}.\n\n{}", report::markdown(tables));
    replace(&folder.join("README.md"), &all)?;
    let excerpt = report::excerpt(tables, &EXCERPT);
    replace(&folder.join("../../README.md"), &format!("{excerpt}\n({circumstances}.)\n"))
}

/// The rows of the front door: the title of the table, and the row.
const EXCERPT: [(&str, &str); 6] = [
    (echo::THROUGHPUT, "50 × 1 KiB"),
    (echo::CPU_TIME, "50 × 1 KiB"),
    (executors::TIMES, "spawn + join"),
    (executors::TIMES, "wake round trip"),
    (connections::MEMORY, "bytes, with 10,000 open"),
    (counts::PER_MESSAGE, "50 × 1 KiB"),
];

/// Replaces what stands between the two marks of a page.
fn replace(path: &Path, text: &str) -> Result<()> {
    const BEGIN: &str = "<!-- peers -->\n";
    const END: &str = "<!-- /peers -->";
    let page = fs::read_to_string(path)?;
    let parts =
        page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let Some((before, (_, after))) = parts else {
        return Err(Error::other(format!("{} has no marks", path.display())));
    };
    fs::write(path, format!("{before}{BEGIN}{text}\n{END}{after}"))
}

/// Measures several peers in turn, again and again, and returns the median of each figure. `once`
/// returns `None` for what a peer cannot do.
fn interleave<P, const N: usize>(
    rounds: usize,
    peers: &[P],
    mut once: impl FnMut(&P) -> Result<Option<[f64; N]>>,
) -> Result<Vec<Option<[f64; N]>>> {
    let mut figures: Vec<[Vec<f64>; N]> = peers.iter().map(|_| [const { Vec::new() }; N]).collect();
    for _ in 0..rounds {
        for (peer, figures) in peers.iter().zip(&mut figures) {
            let once = once(peer)?.into_iter().flatten();
            once.zip(figures).for_each(|(figure, figures)| figures.push(figure));
        }
    }
    let medians = |figures: [Vec<f64>; N]| {
        figures.iter().all(|figures| !figures.is_empty()).then(|| figures.map(median))
    };
    Ok(figures.into_iter().map(medians).collect())
}
