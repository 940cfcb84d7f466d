//! hyper, axum, WebSockets, TLS, framed lines, compression and channels, each over our sockets.

mod adapter;
mod channels;
mod compression;
mod http;
mod lines;
mod tls;
mod tools;
mod tree;
mod websocket;
