//! HTTP/1, HTTP/2, HTTPS and WebSockets: our runtime beside tokio, below the same hyper.
//!
//! Each cell runs ten connections, one request at a time on each. A request asks for 64 KiB or for
//! a line, or sends 64 KiB that come back. With timeouts, hyper has a timer and the handler a time
//! limit; none of them ends.

mod clients;
mod servers;

use std::collections::HashMap;
use std::io::{Error, Result};
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use futures_rustls::pki_types::CertificateDer;
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::rustls::{ClientConfig, RootCertStore};

use crate::counts::collected;
use crate::load::Load;
use crate::process::Server;
use crate::report::median;

/// Length of a large body and of a message.
const BODY: usize = 64 * 1024;

const CONNECTIONS: usize = 10;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Http1,
    Http2,
    WebSocket,
}

#[derive(Clone, Copy, PartialEq)]
enum Exchange {
    /// A response of a line.
    GetLine,
    /// A response with a body of 64 KiB.
    Get,
    /// A body of 64 KiB that comes back. Of a WebSocket: a message.
    Post,
}

/// One row of the report.
struct Cell {
    name: String,
    protocol: Protocol,
    exchange: Exchange,
    tls: bool,
    timeouts: bool,
}

/// Both runtimes; ours comes first.
type Run = fn(&Cell) -> Result<()>;
const RUNTIMES: [(&str, Run); 2] = [("ours", servers::ours), ("tokio", servers::tokio)];

/// All cells whose name contains `filter`.
fn cells(filter: &str) -> Vec<Cell> {
    let protocols = [
        ("HTTP/1", Protocol::Http1, false),
        ("HTTP/2", Protocol::Http2, false),
        ("HTTPS/1", Protocol::Http1, true),
        ("HTTPS/2", Protocol::Http2, true),
    ];
    let exchanges = [
        ("GET a line", Exchange::GetLine),
        ("GET 64 KiB", Exchange::Get),
        ("POST 64 KiB", Exchange::Post),
    ];
    let mut cells = Vec::new();
    for (protocol_name, protocol, tls) in protocols {
        for (exchange_name, exchange) in exchanges {
            for (suffix, timeouts) in [("", false), (", timeouts", true)] {
                let name = format!("{protocol_name} {exchange_name}{suffix}");
                cells.push(Cell { name, protocol, exchange, tls, timeouts });
            }
        }
    }
    cells.push(Cell {
        name: "WebSocket 64 KiB".to_owned(),
        protocol: Protocol::WebSocket,
        exchange: Exchange::Post,
        tls: false,
        timeouts: false,
    });
    cells.retain(|cell| cell.name.contains(filter));
    cells
}

/// Runs the server that `name` stands for: a runtime, a space and the name of a cell.
///
/// Returns `None` if it stands for none.
pub(crate) fn serve(name: &str) -> Option<Result<()>> {
    let (runtime, cell) = name.split_once(' ')?;
    let cell = cells(cell).into_iter().find(|other| other.name == cell)?;
    let (_, run) = RUNTIMES.into_iter().find(|(name, _)| *name == runtime)?;
    Some(run(&cell))
}

/// A certificate for this run, and a load that trusts it.
struct Trust {
    pem: String,
    client: Arc<ClientConfig>,
}

impl Trust {
    fn new() -> Result<Trust> {
        let names = ["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(Error::other)?;
        let pem = made.cert.pem() + &made.signing_key.serialize_pem();
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(Error::other)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(Error::other)?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Trust { pem, client: Arc::new(client) })
    }

    fn start(&self, mut command: Command, runtime: &str, cell: &Cell) -> Result<(Server, Load)> {
        command.env(servers::CERTIFICATE, &self.pem);
        let server = Server::start_with(command, &format!("{runtime} {}", cell.name))?;
        let client = || clients::connect(cell, server.address, &self.client);
        let load = Load::new((0..CONNECTIONS).map(|_| client()).collect::<Result<_>>()?, 1)?;
        Ok((server, load))
    }
}

/// Measures requests per second, as ratios to tokio.
pub(crate) fn throughput(filter: &str) -> Result<()> {
    let trust = Trust::new()?;
    println!("{:32}{:>10}{:>10}   ours/tokio", "requests/s, median", "ours", "tokio");
    for cell in cells(filter) {
        let mut rates = [const { Vec::new() }; RUNTIMES.len()];
        for _ in 0..ROUNDS {
            for ((runtime, _), rates) in RUNTIMES.iter().zip(&mut rates) {
                let command = Command::new(env::current_exe()?);
                let (_server, mut load) = trust.start(command, runtime, &cell)?;
                rates.push(load.exchange(ROUND)?.per_second());
            }
        }
        let [ours, tokio] = rates.map(median);
        println!("{:32}{ours:>10.0}{tokio:>10.0}   {:.2}", cell.name, ours / tokio);
    }
    Ok(())
}

/// What callgrind has counted.
#[derive(Clone, Copy)]
struct Counts {
    /// All instructions but those of copies.
    instructions: u64,
    /// Instructions that copy or fill blocks of memory.
    copies: u64,
}

/// Counts user instructions per request with callgrind, as ratios to tokio.
///
/// Copies are counted apart, because callgrind counts an instruction for each byte that
/// `rep movsb` copies, and a processor counts one for all of them.
pub(crate) fn instructions(filter: &str) -> Result<()> {
    const FEW: usize = 10;
    const MANY: usize = 60;
    let trust = Trust::new()?;
    let profile = env::temp_dir().join(format!("peers-callgrind-{}", process::id()));
    let count = |runtime, cell: &Cell, batches| -> Result<Counts> {
        let mut valgrind = Command::new("valgrind");
        valgrind.arg("--tool=callgrind");
        valgrind.arg(format!("--callgrind-out-file={}", profile.display()));
        valgrind.arg(env::current_exe()?).stderr(Stdio::piped());
        let (server, load) = trust.start(valgrind, runtime, cell)?;
        load.exchange_in_batches(batches, |run| server.run(run))?;
        let all = collected(&server.end()?)?[0];
        let copies = copies(&fs::read_to_string(&profile)?);
        fs::remove_file(&profile)?;
        Ok(Counts { instructions: all - copies, copies })
    };
    print!("{:32}{:>10}{:>10}   ours/tokio", "user instructions per request", "ours", "tokio");
    println!("{:>20}{:>10}", "copies: ours", "tokio");
    for cell in cells(filter) {
        let each = |runtime| -> Result<Counts> {
            let (many, few) = (count(runtime, &cell, MANY)?, count(runtime, &cell, FEW)?);
            let requests = ((MANY - FEW) * CONNECTIONS) as u64;
            Ok(Counts {
                instructions: (many.instructions - few.instructions) / requests,
                copies: (many.copies - few.copies) / requests,
            })
        };
        let (ours, tokio) = (each(RUNTIMES[0].0)?, each(RUNTIMES[1].0)?);
        let ratio = ours.instructions as f64 / tokio.instructions as f64;
        print!("{:32}{:>10}{:>10}", cell.name, ours.instructions, tokio.instructions);
        println!("   {ratio:<10.2}{:>20}{:>10}", ours.copies, tokio.copies);
    }
    Ok(())
}

/// Adds up the instructions of functions that copy or fill blocks, from a profile of callgrind.
fn copies(profile: &str) -> u64 {
    const FUNCTIONS: [&str; 3] = ["memcpy", "memmove", "memset"];
    let mut copies = HashMap::new();
    let (mut copying, mut inclusive, mut count) = (false, false, 0);
    for line in profile.lines() {
        // A name stands beside the first use of its number.
        if let Some(function) = line.strip_prefix("fn=").or(line.strip_prefix("cfn=")) {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            let is_copy = || FUNCTIONS.iter().any(|copy| name.contains(copy));
            let is_copy = *copies.entry(number).or_insert_with(is_copy);
            if line.starts_with("fn=") {
                copying = is_copy;
            }
        } else if line.starts_with("calls=") {
            inclusive = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            // A position and a count; after a call, the count of the function that was called.
            let own = line.split(' ').nth(1).and_then(|own| own.parse().ok()).unwrap_or(0);
            if !std::mem::take(&mut inclusive) && copying {
                count += own;
            }
        }
    }
    count
}
