//! A program that records itself. It leaves a page to step through, a trace for Perfetto and lines of
//! JSON in the folder that its argument names.

use std::env;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use log::LevelFilter;
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::net::{TcpListener, TcpStream};
use recorder::{Options, Page, Program, Recorder, Run, write_chrome, write_json_lines};

async fn answer(listener: TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    stream.read_exact(&mut [0; 5]).await?;
    stream.write_all(b"42").await
}

async fn ask() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answering = executor::spawn_named("answer", answer(listener));
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"what?").await?;
    stream.read_exact(&mut [0; 2]).await?;
    answering.await.map_err(io::Error::other)?
}

fn main() -> io::Result<()> {
    let mut options = Options::recording(10_000);
    // The page shows the line at which each task stands.
    options.stacks = true;
    let recorder = Recorder::install(Box::new(log::logger()), LevelFilter::Off, options);
    let recorder = recorder.map_err(io::Error::other)?;
    recorder.start();
    executor::block_on(ask())?;
    let recording = recorder.finish();

    let folder = PathBuf::from(env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    let create = |name| File::create(folder.join(name)).map(BufWriter::new);
    let mut trace = create("run.json")?;
    write_chrome(&recording, &mut trace)?;
    trace.flush()?;
    let mut lines = create("run.jsonl")?;
    write_json_lines(&recording, &mut lines)?;
    lines.flush()?;
    let mut run = Run::new("One task asks, and another one answers.", recording);
    // The first screen marks these lines.
    run.program = Some(Program::new(file!(), include_str!("own_program.rs")).showing(14, 28));
    let mut page = create("run.html")?;
    Page::new("ask", run).write_html(&mut page)?;
    page.flush()
}
