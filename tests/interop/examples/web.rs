//! An axum `Router`, served by hyper over our sockets: one task for each connection.
//!
//! ```text
//! cargo run -p interop --example web
//! curl http://127.0.0.1:8080/hello/world
//! ```
//!
//! `axum::serve` requires tokio's listener. The body of `spawn` replaces it for each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use executor::{block_on, spawn};
use futures_lite::StreamExt;
use hyper::server::conn::http1;
use hyper_util::service::TowerToHyperService;
use reactor::{io, net::TcpListener};
use reactor_hyper::{HyperIo, LocalTimer};

async fn hello(Path(name): Path<String>, State(requests): State<Arc<AtomicUsize>>) -> String {
    let number = requests.fetch_add(1, Ordering::Relaxed) + 1;
    format!("Hello, {name}, from request {number}!\n")
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    // axum requires state that is `Send` and `Sync`, although only one thread uses it.
    let router = Router::new().route("/hello/{name}", get(hello)).with_state(Arc::default());
    block_on(async {
        let listener = TcpListener::bind(address.as_str()).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let mut incoming = listener.incoming();
        while let Some(stream) = incoming.next().await {
            let (stream, service) = (stream?, TowerToHyperService::new(router.clone()));
            stream.set_nodelay(true)?;
            drop(spawn(async move {
                let mut http = http1::Builder::new();
                // Close a connection whose client does not send a whole request head in time.
                http.timer(LocalTimer);
                if let Err(error) = http.serve_connection(HyperIo(stream), service).await {
                    println!("connection lost: {error}");
                }
            }));
        }
        Ok(())
    })
}
