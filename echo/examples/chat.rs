//! A chat over a Unix socket with two guests. Each guest has a task, and all tasks share the list
//! of guests.

use std::cell::RefCell;
use std::rc::Rc;

use executor::{block_on, spawn};
use futures_lite::StreamExt;
use reactor::io::{self, AsyncBufReadExt, AsyncWriteExt, BufReader};
use reactor::net::{UnixListener, UnixStream};

type Room = Rc<RefCell<Vec<Rc<UnixStream>>>>;

fn main() -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("chat-{}", std::process::id()));
    block_on(async {
        drop(spawn(serve(UnixListener::bind(&path)?)));
        let mut ada = BufReader::new(UnixStream::connect(&path).await?);
        ada.get_mut().write_all(b"Ada\n").await?;
        print_next_line("Ada", &mut ada).await?;
        let mut grace = BufReader::new(UnixStream::connect(&path).await?);
        std::fs::remove_file(&path)?;

        grace.get_mut().write_all(b"Grace\nHello!\n").await?;
        print_next_line("Ada", &mut ada).await?;
        print_next_line("Ada", &mut ada).await?;
        drop(grace);
        print_next_line("Ada", &mut ada).await
    })
}

/// Reads one line, and prints it.
async fn print_next_line(name: &str, guest: &mut BufReader<UnixStream>) -> io::Result<()> {
    let mut line = String::new();
    guest.read_line(&mut line).await?;
    print!("{name} hears: {line}");
    Ok(())
}

async fn serve(listener: UnixListener) -> io::Result<()> {
    let room = Room::default();
    let mut incoming = listener.incoming();
    while let Some(stream) = incoming.next().await {
        drop(spawn(attend(Rc::new(stream?), room.clone())));
    }
    Ok(())
}

async fn attend(guest: Rc<UnixStream>, room: Room) -> io::Result<()> {
    let mut lines = BufReader::new(&*guest).lines();
    let Some(name) = lines.next().await.transpose()? else { return Ok(()) };
    room.borrow_mut().push(guest.clone());
    send_to_all(&room, format!("{name} comes\n")).await;
    while let Some(Ok(line)) = lines.next().await {
        send_to_all(&room, format!("{name} says {line}\n")).await;
    }
    room.borrow_mut().retain(|other| !Rc::ptr_eq(other, &guest));
    send_to_all(&room, format!("{name} leaves\n")).await;
    Ok(())
}

/// Sends a line to all guests.
async fn send_to_all(room: &Room, line: String) {
    // Iterate over a copy of the list, because guests come and go while a slow guest delays the
    // loop. A slow guest delays the speaker, too. A larger chat would have a queue per guest, and a
    // task that sends from it.
    let guests = room.borrow().clone();
    for guest in guests {
        // Ignore a guest that has gone: the task that reads from the guest removes it.
        let _ = (&*guest).write_all(line.as_bytes()).await;
    }
}
