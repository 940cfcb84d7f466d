//! What the READMEs say is so: line counts, transcripts, and the pitfalls that have tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::PathBuf;

use reactor::io;
use tests::guide::{Block, blocks, read, rings, rust_files, section};
use tests::records::{Record, capture};
use tests::sizes::{Size, table};
use tests::{tcp_pair_with_std, within_deadline};

/// Lines of code of a file: no comments, no blank lines, no unit tests.
fn lines_of_code(path: &str) -> usize {
    Size::of(&read(path)).code
}

#[test]
fn the_rings_of_reading_name_their_files_and_lines() {
    let rings = rings();
    assert_eq!(rings.len(), 2, "the first ring and the second");
    assert_eq!(rings[0].len(), 6);
    assert!(read("README.md").contains("Read the first six files"));
    for (path, told) in rings.iter().flatten() {
        assert_eq!(*told, lines_of_code(path), "lines of code in {path}, told and true");
    }
}

#[test]
fn each_ring_takes_as_long_as_its_files_together_and_none_is_read_too_fast() {
    let readme = read("README.md");
    let parts: Vec<&str> = section(&readme, "Three rings of reading").split("\n\n").collect();
    let number = |cell: Option<&str>| -> Option<u32> { cell?.trim().parse().ok() };
    let sizes = |row: &str| {
        let mut cells = row.split('|').skip(2);
        Some((number(cells.next())?, number(cells.next())?))
    };
    for (told, pace, sum, fastest) in [
        ("(three hours)", "at most eight a minute", 180, 8),
        ("(an hour and a half)", "at most a line a second", 90, 60),
    ] {
        let mut titled = parts.windows(2).filter(|pair| pair[0].contains(told));
        let pair = titled.next().unwrap_or_else(|| panic!("no ring is told to take {told}"));
        assert!(pair[0].contains(pace), "{told} is not told to be {pace}");
        let rows: Vec<(u32, u32)> = pair[1].lines().filter_map(sizes).collect();
        let minutes: u32 = rows.iter().map(|(_, minutes)| minutes).sum();
        assert_eq!(minutes, sum, "the minutes of the files of the ring {told}");
        let too_fast = rows.iter().find(|(lines, minutes)| *lines > fastest * minutes);
        assert_eq!(too_fast, None, "lines and minutes; {pace}, in {told}");
    }
}

#[test]
fn the_first_ring_has_fewer_than_a_thousand_lines_of_code() {
    let lines: usize = rings()[0].iter().map(|(path, _)| lines_of_code(path)).sum();
    assert!(lines < 1000, "{lines} lines");
    assert!(read("README.md").contains("in fewer than a thousand lines of core"));
}

fn together(files: &[(String, Size)]) -> Size {
    let mut all = Size::default();
    files.iter().for_each(|(_, size)| all.add(size.clone()));
    all
}

#[test]
fn the_first_ring_has_two_lines_of_comment_for_three_of_code_and_most_where_it_is_hard() {
    let mut sizes = Size::of_rings().swap_remove(0);
    let all = together(&sizes);
    assert!((0.6..=0.9).contains(&all.ratio()), "{:.2} together", all.ratio());
    sizes.sort_by(|(_, a), (_, b)| b.ratio().total_cmp(&a.ratio()));
    let order: Vec<_> = sizes.iter().map(|(path, size)| (path.as_str(), size.ratio())).collect();
    let hardest = ["executor/src/task.rs", "reactor/src/reactor.rs", "reactor/src/source.rs"];
    assert!(order[..3].iter().all(|(path, _)| hardest.contains(path)), "{order:#.2?}");
}

#[test]
fn no_function_of_the_first_ring_has_more_than_forty_lines_of_code() {
    let all = together(&Size::of_rings()[0]);
    assert!(all.longest().0 <= 40, "{:?}", all.longest());
}

#[test]
fn the_table_of_sizes_has_at_most_eighty_columns() {
    for ring in Size::of_rings() {
        let table = table("ring", &ring);
        assert!(table.is_ascii() && table.lines().all(|line| line.len() <= 80), "{table}");
    }
}

#[test]
fn the_server_that_is_to_be_read_has_at_most_forty_lines() {
    assert!(lines_of_code("echo/src/serve.rs") <= 40);
}

#[test]
fn the_classic_echo_server_has_at_most_twenty_five_lines() {
    assert!(lines_of_code("echo/examples/echo.rs") <= 25);
}

/// The cells of a row of the front door's tables.
fn row(begins: &str) -> Vec<String> {
    let readme = read("README.md");
    let mut lines = readme.lines().filter(|line| line.starts_with(begins));
    let row = lines.next().unwrap_or_else(|| panic!("no row begins with {begins}"));
    row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

#[test]
fn the_three_echoes_have_as_many_lines_as_is_told() {
    let files = ["echo_threads", "echo_mio", "echo"];
    let lines = files.map(|name| lines_of_code(&format!("echo/examples/{name}.rs")).to_string());
    assert_eq!(row("| lines of code | ")[1..], lines);
}

/// The columns of the front door are the rows of the chapter, in the same order.
#[test]
fn a_thousand_clients_cost_the_same_on_the_front_door_and_in_the_chapter() {
    let is_table = |block: &Block| block.lines[0].starts_with("server    memory/connection");
    let table = blocks("echo/README.md").into_iter().find(is_table).expect("what compare prints");
    let cost = |server: &str| {
        let row = table.lines[1..].iter().find(|row| row.split_whitespace().next() == Some(server));
        let words: Vec<&str> = row.expect("its row").split_whitespace().collect();
        let [_, memory, unit, threads, ..] = words[..] else { panic!("too short: {row:?}") };
        let threads = match threads.parse().expect("a number") {
            1 => "1 thread".to_owned(),
            many if many < 1000 => format!("{many} threads"),
            many => format!("{},{:03} threads", many / 1000, many % 1000),
        };
        format!("{threads}, {memory} {unit} each")
    };
    assert_eq!(row("| 1,000 clients cost | ")[1..], ["threads", "mio", "ours"].map(cost));
}

#[test]
fn the_comparison_tells_how_long_both_crates_are() {
    let crates = ["reactor/src", "executor/src"];
    let ours = |path: &PathBuf| crates.iter().any(|folder| path.starts_with(folder));
    let files = rust_files().filter(ours);
    let all: usize = files.map(|path| lines_of_code(&path.display().to_string())).sum();
    let rings = rings();
    let first = rings[0].iter().filter(|(path, _)| crates.iter().any(|one| path.starts_with(one)));
    let first: usize = first.map(|(_, lines)| lines).sum();
    let told = format!("{},{:03}, of which {first} to read first", all / 1000, all % 1000);
    assert_eq!(row("| this one | ")[1], told);
}

// Two exceptions. The standard streams: a thread of the pool, on which no task waits, may find that
// somebody else has made a descriptor non-blocking. And the room that a Unix socket waits for at the
// other end, of which no event tells.
#[test]
fn would_block_is_handled_in_one_place() {
    let handles = |path: &PathBuf| {
        let text = read(path);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        // Whoever only says it makes an error of it: all else looks for it.
        let says = |line: &str| line.contains("Err(ErrorKind::WouldBlock.into())");
        let names = ["WouldBlock", "Errno::AGAIN", "Errno::WOULDBLOCK", "EAGAIN"];
        code.filter(|line| !says(line)).any(|line| names.iter().any(|name| line.contains(name)))
    };
    let ours =
        |path: &PathBuf| ["reactor/src", "executor/src"].iter().any(|at| path.starts_with(at));
    let places: Vec<PathBuf> = rust_files().filter(ours).filter(handles).collect();
    let told = ["os/stdio.rs", "source.rs", "net/unix/room.rs"];
    let told = told.map(|file| PathBuf::from("reactor/src").join(file));
    assert_eq!(BTreeSet::from_iter(places), BTreeSet::from(told));
}

/// What the sources say, and a README or documentation says again. A text that is gone is to be
/// changed in all places of its row.
const SAID_AGAIN: &[&[(&str, &str)]] = &[
    &[("Cargo.toml", "rust-version = \"1.88\""), ("README.md", "Rust 1.88 or newer")],
    &[
        ("reactor/src/budget.rs", "OPERATIONS: u32 = 128;"),
        ("README.md", "yields after 128 operations"),
        ("executor/README.md", "may complete at most 128 operations in one poll"),
        ("tests/README.md", "completes at most 128 operations in one poll"),
    ],
    // The states of a task, by their names and in their order.
    &[
        ("executor/src/tasks.rs", "in the inbox. Queued,"),
        ("executor/src/tasks.rs", "is part of it. Running,"),
        ("executor/src/tasks.rs", "a waker of it. Waiting,"),
        ("executor/README.md", "queued ──► running ─────────────────────► waiting"),
    ],
    &[
        ("executor/src/executor.rs", "const ROUND: usize = 64;"),
        ("executor/src/executor.rs", "or 64 if there were fewer"),
        ("executor/README.md", "what that queues, up to 64 polls;"),
        ("executor/README.md", "or after 64 polls if those were fewer"),
    ],
    &[
        ("reactor/src/io/copy.rs", "const SCRATCH: usize = 256 * 1024;"),
        ("echo/README.md", "the copy keeps the scratch buffer itself, 256 KiB."),
    ],
    &[
        ("reactor/src/io/copy.rs", "const LITTLE: usize = 32 * 1024;"),
        ("echo/README.md", "until it is written: up to 32 KiB in a buffer"),
        ("echo/README.md", "all read no more than 32 KiB at once"),
    ],
    &[
        ("reactor/src/io/copy.rs", "const MANY: usize = 4 * SCRATCH;"),
        ("echo/README.md", "When the copies of a thread keep 1 MiB"),
    ],
    &[
        ("reactor/src/fs/cached.rs", "const MOST: usize = 256 * 1024;"),
        ("reactor/src/fs/cached.rs", "one of 256 KiB spends all of it"),
        ("reactor/src/fs/mod.rs", "spends budget, 256 KiB all of it"),
        ("reactor/src/fs/mod.rs", "it is smaller than 256 KiB"),
        ("reactor/README.md", "the budget of its task, 256 KiB all of it"),
    ],
    &[
        ("reactor/src/os/stdio.rs", "const MOST: usize = 64 * 1024;"),
        ("reactor/src/os/stdio.rs", "a write of up to 64 KiB"),
        ("reactor/src/os/stdio.rs", "cannot be stopped, up to 64 KiB;"),
    ],
    &[
        ("reactor/src/net/tcp.rs", "const BACKLOG: u32 = 1024;"),
        ("reactor/src/net/tcp.rs", "before they are accepted, 1024 at first"),
    ],
    &[
        ("echo/src/listen.rs", "const BACKLOG: u32 = 1024;"),
        ("echo/src/arguments.rs", "[default: 1024]"),
    ],
    &[
        ("reactor/src/net/incoming.rs", "FIRST_PAUSE: Duration = Duration::from_millis(10);"),
        ("reactor/src/net/tcp.rs", "or for 10 ms, doubling up to"),
    ],
    &[
        ("reactor/src/net/incoming.rs", "LONGEST_PAUSE: Duration = Duration::from_secs(1);"),
        ("reactor/src/net/tcp.rs", "up to a second, and warns at most once a second"),
        ("echo/README.md", "warns at most once a second"),
    ],
    &[
        ("reactor/src/net/unix/room.rs", "FIRST_PAUSE: Duration = Duration::from_millis(1);"),
        ("reactor/src/net/unix/datagram.rs", "after 1 ms"),
        ("reactor/src/net/unix/stream.rs", "after 1 ms"),
    ],
    &[
        ("reactor/src/net/unix/room.rs", "LONGEST_PAUSE: Duration = Duration::from_millis(50);"),
        ("reactor/src/net/unix/datagram.rs", "double up to 50 ms"),
        ("reactor/src/net/unix/stream.rs", "double up to 50 ms"),
    ],
    &[
        ("reactor/uring/src/operation.rs", "IN_PLACE: usize = 256 << 10;"),
        (
            "reactor/uring/README.md",
            "1,000 reads of 4 KiB at once cost 16, for no more than 256 KiB",
        ),
    ],
    &[
        ("reactor/uring/src/in_flight.rs", "PATIENCE: Duration = Duration::from_secs(1);"),
        ("reactor/uring/README.md", "waits for a second at most"),
    ],
    &[
        ("reactor/uring/src/in_flight.rs", "setup_coop_taskrun()"),
        ("reactor/uring/README.md", "Flags: `COOP_TASKRUN`"),
    ],
    &[
        ("tests/tests/udp.rs", "const LONGEST: usize = 65_507;"),
        ("reactor/src/net/udp.rs", "longer than 65,507 bytes"),
        ("echo/src/udp.rs", "65,507 bytes over IPv4"),
        ("echo/README.md", "datagrams of 0 to 65,507 bytes"),
    ],
    &[("echo/src/udp.rs", "const FIRST_PORT: u16 = 1024;"), ("echo/README.md", "Ports below 1024")],
    &[
        ("echo/src/table.rs", "const ROWS: usize = 100;"),
        ("echo/README.md", "of more than 100 tasks"),
    ],
    &[
        ("echo/src/arguments.rs", "const DEFAULT: &str = \"127.0.0.1:7777\";"),
        ("README.md", "starts the server at 127.0.0.1:7777"),
        ("echo/README.md", "listen there; 127.0.0.1:7777 if nothing is said"),
    ],
    &[
        ("echo/src/demo.rs", "const PAUSE: Duration = Duration::from_millis(100);"),
        ("echo/src/demo.rs", "for a third of a second"),
        ("echo/src/arguments.rs", "for a third of a second"),
        ("echo/README.md", "for a third of a second"),
    ],
    &[
        ("echo/src/connection.rs", "LINGER: Duration = Duration::from_secs(1);"),
        ("echo/README.md", "for at most a second more"),
        ("echo/dist/echod.service", "the time of grace and a second more"),
    ],
    &[("echo/src/main.rs", "REFUSED: u8 = 1;"), ("echo/README.md", "| 1 | the system refuses")],
    &[
        ("echo/src/main.rs", "WRONG_ARGUMENTS: u8 = 2;"),
        ("echo/README.md", "| 2 | wrong arguments"),
        ("echo/dist/echod.service", "RestartPreventExitStatus=2"),
    ],
    &[
        (
            "echo/dist/haproxy.cfg",
            "server a 127.0.0.1:7781 server b 127.0.0.1:7782 server c 127.0.0.1:7783",
        ),
        ("echo/README.md", "for port in 7781 7782 7783;"),
    ],
    &[
        ("echo/dist/haproxy.cfg", "stats socket /run/haproxy-echod.sock"),
        ("echo/README.md", "UNIX-CONNECT:/run/haproxy-echod.sock"),
    ],
    &[
        (
            "echo/dist/haproxy.cfg",
            "echo \"set server echod/a state drain\" | socat - UNIX-CONNECT:",
        ),
        ("echo/README.md", "echo \"set server echod/a state drain\" | socat - UNIX-CONNECT:"),
    ],
    &[
        ("echo/learn/faults/main.rs", "const FAULTS: [Fault; 6]"),
        ("echo/README.md", "Six faults on a switch"),
        ("echo/README.md", "lists the six"),
        ("tests/README.md", "six faults"),
    ],
    &[
        ("echo/recorder/src/ladder.rs", "const END: usize = 80;"),
        ("echo/recorder/src/ladder.rs", "at most 80 columns"),
        ("echo/recorder/README.md", "in 80 columns"),
    ],
    &[
        ("echo/recorder/src/lines.rs", "VERSION: u32 = 1;"),
        ("echo/recorder/README.md", "`version`, which is 1"),
    ],
    &[("tests/tests/guide.rs", "READMES.split_at(5);"), ("README.md", "The guide has five pages")],
    &[
        ("echo/learn/questions/main.rs", "const QUESTIONS: [Question; 15]"),
        ("README.md", "fifteen questions with programs"),
        ("tests/README.md", "The index of the guide: fifteen questions"),
    ],
    &[
        ("tests/tests/records.rs", "fn one_message_passes_no_more_than_twelve_record_sites"),
        ("tests/README.md", "tells its story in twelve records"),
    ],
    &[
        ("tests/tests/files.rs", "fn a_file_in_memory_costs_four_calls_and_no_thread"),
        ("reactor/README.md", "`fs::read` makes four calls"),
    ],
    &[
        ("tests/echod/calls.rs", "fn a_message_costs_three_system_calls_and_no_attempt_in_vain"),
        ("README.md", "Three system calls: `epoll_wait`, `read`, `write`"),
    ],
    &[
        ("tests/tests/wake_protocol.rs", "preemption_bound = Some(2)"),
        ("executor/README.md", "at most two of them are interrupted"),
        ("tests/README.md", "every order with two interruptions"),
    ],
    &[
        ("reactor/src/source.rs", "4. Leave the waker with the direction, and return `Pending`."),
        ("reactor/README.md", "Its documentation lists the four steps;"),
    ],
    &[
        ("reactor/src/source.rs", "direction.ready.set(false)"),
        ("reactor/README.md", "`direction.ready.set(false)`"),
    ],
    &[("reactor/src/source.rs", "self.store("), ("reactor/README.md", "`self.store(…)`")],
    &[
        ("reactor/src/reactor.rs", "5. Wake all that are on the list. To wake runs no task:"),
        ("reactor/README.md", "Its five steps stand in its documentation."),
    ],
    &[
        ("executor/src/join.rs", "task.future.poll("),
        ("executor/README.md", "`task.future.poll(…)`"),
    ],
    &[
        ("tests/echod/signals.rs", "[(Signal::INT, 130), (Signal::TERM, 143)]"),
        ("echo/README.md", "with 130 or 143"),
        ("echo/README.md", "| 130, 143 | a second SIGINT, SIGTERM |"),
    ],
    &[
        ("echo/src/main.rs", "Signal::new(SIGUSR1)"),
        ("echo/README.md", "SIGUSR1 asks why it is stuck"),
    ],
    &[
        ("echo/src/arguments.rs", "its unit: `50us`, `500ms`, `2s`, `5m`, `1h`."),
        ("echo/README.md", "Durations are written `50us`, `500ms`, `2s`, `5m`, `1h`."),
    ],
    &[
        ("echo/learn/faults/read_once.rs", "const BYTES: usize = 100;"),
        ("echo/learn/faults/read_once.rs", "let mut buffer = [0; 16];"),
        ("echo/README.md", "of 100 bytes, 16 come back"),
    ],
    &[
        ("echo/learn/faults/block.rs", "const SLOW: Duration = Duration::from_millis(300);"),
        ("echo/README.md", "beside it not one tick in 300 ms"),
    ],
    &[
        ("tests/echod/guide.rs", "env::var_os(\"UPDATE_GUIDE\")"),
        ("README.md", "`UPDATE_GUIDE=1 cargo test -p echo --test echod guide`"),
    ],
];

#[test]
fn what_the_sources_say_and_the_readmes_say_again_is_the_same_everywhere() {
    let is_word = |word: &&str| !["///", "//!", "//"].contains(word);
    let words = |text: &str| text.split_whitespace().filter(is_word).collect::<Vec<_>>().join(" ");
    for row in SAID_AGAIN {
        let gone = row.iter().find(|(file, text)| !words(&read(file)).contains(text));
        assert!(gone.is_none(), "{gone:?} is gone, so change all of these: {row:#?}");
    }
}

/// The files in a folder, but no tests, with so many lines of code that contain a text.
fn lines_with(folder: &str, text: &str) -> Vec<(String, usize)> {
    let ours = |path: &PathBuf| path.starts_with(folder) && path.iter().all(|it| it != "tests");
    let is_code = |line: &&str| !line.trim_start().starts_with("//") && line.contains(text);
    let count = |path: PathBuf| {
        let lines = read(&path).lines().filter(is_code).count();
        (lines > 0).then(|| (path.display().to_string(), lines))
    };
    let mut files: Vec<_> = rust_files().filter(ours).filter_map(count).collect();
    files.sort();
    files
}

#[test]
fn two_lines_poll_a_future_and_two_blocks_are_unsafe_as_is_told() {
    let polls = ["executor/src/executor.rs", "executor/src/join.rs"];
    assert!(read("executor/README.md").contains("exactly two lines poll a task's future"));
    assert!(read("reactor/uring/README.md").contains("two\nblocks, each with its proof"));
    assert_eq!(lines_with("executor/src", "future.poll("), polls.map(|file| (file.to_owned(), 1)));
    assert_eq!(lines_with("", "unsafe {"), [("reactor/uring/src/in_flight.rs".to_owned(), 2)]);
}

/// A block of text of a README, by the mark before it.
fn block(readme: &str, mark: &str) -> String {
    let begin = format!("<!-- {mark} -->\n```text\n");
    let text = read(readme);
    let told = text.split(&begin).nth(1).expect("the mark");
    told.split("```\n<!-- end -->").next().expect("a first part").to_owned()
}

#[test]
fn the_ladder_of_the_front_door_is_the_byte_of_the_one_that_is_tested() {
    let ladder = read("echo/recorder/ladder.txt");
    let head = ladder.lines().find(|line| line.ends_with("why")).expect("the names of the columns");
    let from = ladder.find("sends 1 byte").and_then(|at| ladder[..at].rfind('\n')).unwrap() + 1;
    let byte = ladder[from..].split_inclusive('\n');
    let byte: String = byte.take_while(|line| !line.contains("epoll_wait, as the run")).collect();
    assert_eq!(block("README.md", "ladder: the byte"), format!("{head}\n{byte}"));
}

/// The records of one byte through an echo, from its event to the next sleep.
fn records_of_one_byte() -> Vec<Record> {
    let echo = || {
        executor::block_on(async {
            let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
            let task = executor::spawn(async move {
                let (reader, writer) = ours.split();
                io::copy(reader, writer).await
            });
            // From another thread, as a real client: it speaks when the server sleeps.
            let client = std::thread::spawn(move || {
                for byte in [1, 2] {
                    peer.write_all(&[byte]).unwrap();
                    peer.read_exact(&mut [0]).unwrap();
                }
            });
            task.await.unwrap().unwrap();
            client.join().unwrap();
        })
    };
    let ((), records) = capture(echo);
    // The second byte: all that belongs to the beginning is over.
    let is_event = |record: &Record| record.kind == "event" && record.get("readable") == "true";
    let begins = records.iter().rposition(|record| record.get("bytes") == "1").unwrap();
    let begins = records[..begins].iter().rposition(is_event).unwrap();
    let ends = begins + records[begins..].iter().position(|record| record.kind == "sleep").unwrap();
    records[begins..=ends].to_vec()
}

/// One record as the README shows it: what is false is left out, and the waker has a short name.
fn line(record: &Record) -> String {
    let keys = record.keys.iter().filter(|(_, value)| *value != "false").map(|(key, value)| {
        let value = if key == "waker" { "A" } else { value };
        // The numbers of the server in the transcript are those of a fresh `echod`.
        let value = match key.as_str() {
            "source" => "4",
            "task" => "2",
            _ => value,
        };
        format!(" {key}={value}")
    });
    let text = format!("{:19} {:12}{}", record.target, record.kind, keys.collect::<String>());
    text.trim_end().to_owned()
}

#[test]
fn the_transcript_of_one_byte_is_true() {
    let records = within_deadline(records_of_one_byte);
    let true_lines: Vec<String> = records.iter().map(line).collect();
    let readme = read("README.md");
    let told = readme.split("<!-- transcript: one byte -->\n```text\n").nth(1).expect("the mark");
    let told = told.split("\n```").next().unwrap_or_default();
    assert_eq!(told, true_lines.join("\n"), "told and true");
}

/// Which tests cover which pitfall: a line `// Pitfall: W1, W2` stands before each of them.
fn tests_of_pitfalls() -> BTreeMap<String, BTreeSet<String>> {
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in rust_files() {
        let text = read(&file);
        let mut ids = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(list) = line.strip_prefix("// Pitfall: ") {
                ids.extend(list.split(", "));
            } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| !ids.is_empty()) {
                let name = rest.split('(').next().unwrap_or_default();
                for id in ids.drain(..) {
                    tests.entry(id.to_owned()).or_default().insert(format!("`{name}`"));
                }
            }
        }
    }
    tests
}

#[test]
fn every_pitfall_of_the_index_names_its_tests() {
    let mut tests = tests_of_pitfalls();
    let index = read("tests/README.md");
    for line in index.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [id, _, told] = cells[..] else { continue };
        let Some(named) = tests.remove(id) else { continue };
        let named: Vec<String> = named.into_iter().collect();
        assert_eq!(told, named.join(", "), "the tests of pitfall {id}, told and true");
    }
    assert!(tests.is_empty(), "not in the index of tests/README.md: {tests:#?}");
}
