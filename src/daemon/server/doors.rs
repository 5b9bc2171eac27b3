//! Where connections come in: how many there may be, how long each may take, and TLS. Knows nothing of what is asked.
//!
//! A client that says nothing, or a byte at a time, is cut off; it holds none of the others up meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::engine::time::Duration;

/// Connections at once; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 256;
/// From the connect, or the end of an answer, to the end of the next request's head.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// After this a connection takes no further request, so that clients that hardly read hold none of them for ever.
const LIFE: Duration = Duration::from_minutes(2);
/// What is under way after that gets this much longer.
const LAST_ANSWER: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Accepting failed, most likely for want of file descriptors: whoever has one may give it back meanwhile.
const BREATH: Duration = Duration::from_ms(200);

/// `None` for plain http; what newly comes in finds the newest.
pub type Tls = watch::Receiver<Option<Arc<rustls::ServerConfig>>>;

/// Takes connections in until it is dropped.
pub async fn open(listener: TcpListener, tls: Tls, router: Router) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(enter(stream, peer, tls.borrow().clone(), router.clone(), permit));
            }
            Err(why) => {
                tracing::warn!(%why, "cannot take a connection in");
                tokio::time::sleep(BREATH.to_std()).await;
            }
        }
    }
}

async fn enter(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    permit: OwnedSemaphorePermit,
) {
    // Answers are whole when they are sent.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve(stream, peer, router).await,
        Some(tls) => {
            let handshake = TlsAcceptor::from(tls).accept(stream);
            match tokio::time::timeout(HANDSHAKE_PATIENCE.to_std(), handshake).await {
                Ok(Ok(stream)) => serve(stream, peer, router).await,
                Ok(Err(why)) => tracing::debug!(%peer, %why, "a TLS handshake failed"),
                Err(_elapsed) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        }
    }
    drop(permit);
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr, router: Router) {
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        service.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE.to_std())
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a client's connection ends is its own business.
    if tokio::time::timeout(LIFE.to_std(), connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_ANSWER.to_std(), connection).await;
    }
}
