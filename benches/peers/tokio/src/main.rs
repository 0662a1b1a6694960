//! Broadcast with tokio-tungstenite, as one would write it: a task for each connection, and
//! `tokio::sync::broadcast` between them. One thread, like elbow.
//!
//! `peer-tokio PORT`. Whoever wants no WebSocket is told `ok`, so that it can be probed.

use std::net::Ipv4Addr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::broadcast::{Sender, channel, error::RecvError};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

/// Messages that the slowest may lag behind.
const LAG_MAX: usize = 16 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("PORT");
    let listener = listen(port).expect("the port is free");
    let (all, _) = channel(LAG_MAX);
    while let Ok((stream, _)) = listener.accept().await {
        // It may be gone already, which the task will find.
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream, all.clone()));
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(4096)
}

async fn serve(mut stream: TcpStream, all: Sender<Message>) {
    let mut begin = [0; 12];
    let peeked = stream.peek(&mut begin).await.unwrap_or(0);
    if begin[..peeked].starts_with(b"GET /healthz") {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        return;
    }
    let mut heard = all.subscribe();
    let Ok(mut socket) = accept_async(stream).await else { return };
    loop {
        tokio::select! {
            said = socket.next() => match said {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    let _ = all.send(message);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            message = heard.recv() => match message {
                Ok(message) => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}
