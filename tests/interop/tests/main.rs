//! hyper, axum, WebSockets, TLS, framed lines, compression, channels and parts of tokio, each over our
//! sockets.

mod adapter;
mod channels;
mod compression;
mod http;
mod lines;
mod runtimes;
mod tls;
mod tools;
mod tree;
mod websocket;
