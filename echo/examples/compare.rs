//! Compares the three echo servers beside this file: memory per connection, threads, context
//! switches per message, and time per message.
//!
//! ```text
//! compare [CONNECTIONS [MESSAGES]]      defaults: 1000 connections, 20 messages on each
//! ```
//!
//! Each server is this program, started again with the name of the server in `ECHO_SERVER`.

#[path = "echo.rs"]
mod echo;
#[path = "echo_mio.rs"]
mod echo_mio;
#[path = "echo_threads.rs"]
mod echo_threads;

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::{env, fs, time::Instant};

type Server = fn() -> Result<()>;
const SERVERS: [(&str, Server); 3] =
    [("threads", echo_threads::main), ("mio", echo_mio::main), ("ours", echo::main)];

fn main() -> Result<()> {
    if let Ok(name) = env::var("ECHO_SERVER") {
        let server = SERVERS.iter().find(|(server, _)| *server == name);
        return server.ok_or_else(|| Error::other("ECHO_SERVER contains an unknown name"))?.1();
    }
    let (connections, messages) = (argument(1, 1000)?, argument(2, 20)?);
    println!("{connections} connections, {messages} messages of 64 bytes on each, one at a time\n");
    println!("server    memory/connection   threads   switches/message   µs/message");
    for (name, _) in SERVERS {
        let mut server = start(name)?;
        let measured = measure(&mut server, connections, messages);
        server.kill()?;
        server.wait()?;
        println!("{name:8}  {}", measured?);
    }
    Ok(())
}

fn argument(n: usize, default: usize) -> Result<usize> {
    env::args().nth(n).map_or(Ok(default), |text| text.parse().map_err(Error::other))
}

fn start(name: &str) -> Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("127.0.0.1:0").env("ECHO_SERVER", name).stdout(Stdio::piped()).spawn()
}

fn measure(server: &mut Child, connections: usize, messages: usize) -> Result<String> {
    let mut line = String::new();
    let output = server.stdout.as_mut().expect("stdout is piped");
    BufReader::new(output).read_line(&mut line)?;
    let address = line.rsplit(' ').next().unwrap_or_default().trim().to_owned();

    let before = Status::of(server)?;
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(TcpStream::connect(&address)?);
    }
    // An answer to the first message proves that the server has accepted the connection.
    exchange(&mut clients)?;
    let connected = Status::of(server)?;
    let begin = Instant::now();
    for _ in 0..messages {
        exchange(&mut clients)?;
    }
    let (time, after) = (begin.elapsed(), Status::of(server)?);

    let messages = (connections * messages) as f64;
    let memory = connected.memory.saturating_sub(before.memory) as f64 / connections as f64;
    let switches = (after.switches - connected.switches) as f64 / messages;
    let micros = time.as_secs_f64() * 1e6 / messages;
    let threads = connected.threads;
    Ok(format!("{memory:>11.1} KiB   {threads:>9}   {switches:>16.2}   {micros:>10.1}"))
}

fn exchange(clients: &mut [TcpStream]) -> Result<()> {
    for client in clients {
        let mut answer = [0; 64];
        client.write_all(&[b'x'; 64])?;
        client.read_exact(&mut answer)?;
    }
    Ok(())
}

/// What the kernel reports about a process.
struct Status {
    /// The resident memory, in KiB.
    memory: u64,
    threads: u64,
    switches: u64,
}

impl Status {
    fn of(process: &Child) -> Result<Status> {
        let tasks = format!("/proc/{}/task", process.id());
        let (mut switches, mut threads) = (0, 0);
        for task in fs::read_dir(tasks)? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            threads += 1;
            switches += number(&status, "voluntary_ctxt_switches:");
            switches += number(&status, "nonvoluntary_ctxt_switches:");
        }
        let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
        Ok(Status { memory: number(&status, "VmRSS:"), threads, switches })
    }
}

fn number(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
