//! The daemon's own HTTP server.

use std::net::SocketAddr;

use crate::config::Server;
use crate::config::decode::clipped;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw;

use super::Context;

const DEFAULT_PORT: u16 = 9797;

pub(super) fn server(raw: Option<&raw::Server>, context: &mut Context<'_>) -> Server {
    let default = Server { listen: SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)) };
    let Some(listen) = raw.and_then(|raw| raw.listen.get()) else { return default };
    let Ok(address) = listen.value.parse::<SocketAddr>() else {
        let message = format!("'{}' is not an address and a port", clipped(&listen.value));
        let help = format!("write '127.0.0.1:{DEFAULT_PORT}', or '[::1]:{DEFAULT_PORT}'");
        context.findings.add(Diagnostic::error(listen.span, message).help(help));
        return default;
    };
    if !address.ip().is_loopback() {
        let message = format!("{address} can be reached from other machines, and there is no authentication");
        let help = "its pages only read; put a proxy with authentication in front, or listen on 127.0.0.1";
        context.findings.add(Diagnostic::warning(listen.span, message).help(help));
    }
    Server { listen: address }
}
