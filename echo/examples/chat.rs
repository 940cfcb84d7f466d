//! A chat over a Unix socket, with two guests: one task for each, and all see one list.

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
        hear("Ada", &mut ada).await?;
        let mut grace = BufReader::new(UnixStream::connect(&path).await?);
        std::fs::remove_file(&path)?;

        grace.get_mut().write_all(b"Grace\nHello!\n").await?;
        hear("Ada", &mut ada).await?;
        hear("Ada", &mut ada).await?;
        drop(grace);
        hear("Ada", &mut ada).await
    })
}

async fn hear(name: &str, guest: &mut BufReader<UnixStream>) -> io::Result<()> {
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
    tell(&room, format!("{name} comes\n")).await;
    while let Some(Ok(line)) = lines.next().await {
        tell(&room, format!("{name} says {line}\n")).await;
    }
    room.borrow_mut().retain(|other| !Rc::ptr_eq(other, &guest));
    tell(&room, format!("{name} leaves\n")).await;
    Ok(())
}

async fn tell(room: &Room, line: String) {
    // A copy of the list: guests come and go while one of them is slow to take the line. That holds
    // up who speaks: a larger room has a queue for each guest, and a task that empties it.
    let guests = room.borrow().clone();
    for guest in guests {
        // Who has gone is taken off the list by the task that reads from them.
        let _ = (&*guest).write_all(line.as_bytes()).await;
    }
}
