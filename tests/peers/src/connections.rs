//! Connections: how many come and go in a second, and the memory of those that are idle.

use std::env;
use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::interleave;
use crate::process::Server;
use crate::report::{Better, Table};
use crate::servers::SERVERS;

const ROUNDS: usize = 5;
const BATCHES: usize = 40;
const BATCH: usize = 50;

pub(crate) const MEMORY: &str = "User memory of an idle connection";

pub(crate) fn measure() -> Result<Vec<Table>> {
    Ok(vec![measure_churn()?, measure_memory()?])
}

/// Measures connections that send one byte, receive it and close.
fn measure_churn() -> Result<Table> {
    let names = SERVERS.map(|(name, _)| name);
    let mut table = Table::new("Connections that echo a byte", Better::Less, &names);
    let medians = interleave(ROUNDS, &SERVERS, |(name, _)| {
        let server = Server::start(name)?;
        connect_echo_close(server.address)?;
        let (begin, before) = (Instant::now(), server.cpu_time()?);
        for _ in 0..BATCHES {
            connect_echo_close(server.address)?;
        }
        let each = 1e6 / (BATCHES * BATCH) as f64;
        let time = begin.elapsed().as_secs_f64() * each;
        Ok(Some([time, (server.cpu_time()? - before).as_secs_f64() * each]))
    })?;
    for (at, name) in ["time per connection, µs", "CPU time per connection, µs"].iter().enumerate()
    {
        table.push(name, medians.iter().map(|row| row.map(|row| row[at])));
    }
    Ok(table)
}

fn connect_echo_close(to: SocketAddr) -> Result<()> {
    let connections = (0..BATCH).map(|_| TcpStream::connect(to));
    let mut connections = connections.collect::<Result<Vec<_>>>()?;
    for connection in &mut connections {
        connection.write_all(b"x")?;
    }
    for connection in &mut connections {
        connection.read_exact(&mut [0])?;
    }
    Ok(())
}

const IDLE: usize = 10_000;

/// Measures the user memory of connections that have echoed a byte and are silent.
fn measure_memory() -> Result<Table> {
    let mut limits = getrlimit(Resource::Nofile);
    limits.current = limits.maximum;
    setrlimit(Resource::Nofile, limits)?;

    // Without echod, unless it was built beside this program.
    let echod = env::current_exe()?.with_file_name("echod");
    let names: Vec<_> = SERVERS.iter().map(|(name, _)| *name).chain(["echod"]).collect();
    let mut table = Table::new(MEMORY, Better::Less, &names);
    let mut bytes = Vec::new();
    for name in &names {
        let server = match *name {
            "echod" if !echod.exists() => {
                bytes.push(None);
                continue;
            }
            "echod" => {
                let mut command = Command::new(&echod);
                command.arg("127.0.0.1:0").stderr(Stdio::null());
                Server::start_with(command, name)?
            }
            _ => Server::start(name)?,
        };
        let first = connect_and_echo(server.address)?;
        let before = server.memory()?;
        let idle =
            (0..IDLE).map(|_| connect_and_echo(server.address)).collect::<Result<Vec<_>>>()?;
        bytes.push(Some((server.memory()? - before) as f64 / IDLE as f64));
        drop((first, idle));
    }
    table.push("bytes, with 10,000 open", bytes.into_iter());
    Ok(table)
}

fn connect_and_echo(to: SocketAddr) -> Result<TcpStream> {
    let mut connection = TcpStream::connect(to)?;
    connection.write_all(b"x")?;
    connection.read_exact(&mut [0])?;
    Ok(connection)
}
