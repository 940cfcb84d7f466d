//! Echoed messages: throughput, latency, and the CPU time of the server.

use std::io::Result;
use std::time::Duration;

use crate::interleave;
use crate::load::Workload;
use crate::process::Server;
use crate::report::{Better, Table};
use crate::servers::SERVERS;

const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(40);
const ROUND: Duration = Duration::from_millis(160);

const fn workload(name: &'static str, connections: usize, kibibytes: f64) -> Workload {
    Workload { name, connections, bytes: (kibibytes * 1024.0) as usize, in_flight: 1 }
}

const WORKLOADS: [Workload; 13] = [
    workload("1 × 64 B", 1, 0.0625),
    workload("1 × 1 KiB", 1, 1.0),
    workload("1 × 16 KiB", 1, 16.0),
    workload("1 × 64 KiB", 1, 64.0),
    workload("50 × 64 B", 50, 0.0625),
    workload("50 × 1 KiB", 50, 1.0),
    workload("50 × 16 KiB", 50, 16.0),
    workload("50 × 64 KiB", 50, 64.0),
    workload("1,000 × 64 B", 1000, 0.0625),
    workload("1,000 × 1 KiB", 1000, 1.0),
    workload("1,000 × 16 KiB", 1000, 16.0),
    workload("1,000 × 64 KiB", 1000, 64.0),
    Workload { in_flight: 4, ..workload("20 × 64 KiB × 4 in flight", 20, 64.0) },
];

pub(crate) const THROUGHPUT: &str = "Echoed messages per second";
pub(crate) const CPU_TIME: &str = "CPU time of the server per message, µs";

/// Returns four tables: messages per second, CPU time per message, and two of latency.
pub(crate) fn measure() -> Result<Vec<Table>> {
    let names = SERVERS.map(|(name, _)| name);
    let mut tables = [
        Table::new(THROUGHPUT, Better::More, &names),
        Table::new(CPU_TIME, Better::Less, &names),
        Table::new("Latency, median, µs", Better::Less, &names),
        Table::new("Latency, 99 of 100 messages, µs", Better::Less, &names),
    ];
    for workload in WORKLOADS {
        let medians = interleave(ROUNDS, &SERVERS, |(name, _)| {
            // Other sizes of messages do not need a larger buffer.
            if *name == "tokio 64 KiB" && workload.bytes < 16 * 1024 {
                return Ok(None);
            }
            measure_once(workload, name).map(Some)
        })?;
        for (at, table) in tables.iter_mut().enumerate() {
            table.push(workload.name, medians.iter().map(|row| row.map(|row| row[at])));
        }
    }
    Ok(tables.into())
}

/// Measures a server that was just started, after a warm-up.
fn measure_once(workload: Workload, server: &str) -> Result<[f64; 4]> {
    let server = Server::start(server)?;
    let mut load = workload.connect(server.address)?;
    load.exchange(WARM_UP)?;
    let before = server.cpu_time()?;
    let exchange = load.exchange(ROUND)?;
    let cpu_time = (server.cpu_time()? - before).as_secs_f64() * 1e6;
    let messages = exchange.latencies.len() as f64;
    let (median, high) = (exchange.percentile(50), exchange.percentile(99));
    Ok([exchange.per_second(), cpu_time / messages, median, high])
}
