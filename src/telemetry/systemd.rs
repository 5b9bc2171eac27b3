//! What systemd hears of a `Type=notify` service. Outside systemd all of it does nothing.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager, if there is one. Losing it loses nothing but its attention.
#[derive(Debug)]
pub struct Systemd {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    ready: bool,
}

impl Systemd {
    /// From `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    pub fn from_env() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|address| connect(&address).ok());
        Self { socket, watchdog: sd_notify::watchdog_enabled(), ready: false }
    }

    /// How often [`Systemd::alive`] must be called: twice in the time after which systemd gives up.
    pub fn watchdog_every(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.socket.is_some()).map(|limit| limit / 2)
    }

    /// Says once that the service is up.
    pub fn ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            self.tell(&[NotifyState::Ready]);
        }
    }

    pub fn reloading(&self) {
        if let (true, Ok(now)) = (self.ready, NotifyState::monotonic_usec_now()) {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// Ends what [`Systemd::reloading`] began.
    pub fn reloaded(&self) {
        if self.ready {
            self.tell(&[NotifyState::Ready]);
        }
    }

    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, text: &str) {
        let line: Vec<&str> = text.split_whitespace().collect();
        self.tell(&[NotifyState::Status(&line.join(" "))]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines: Vec<String> = states.iter().map(|state| format!("{state}\n")).collect();
        // A full queue is systemd's own trouble; the next word gets through or the watchdog ends it.
        let _ = socket.send(lines.concat().as_bytes());
    }
}

/// A path, or an abstract name after `@`.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(OsString::from(address))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &SocketAddr, name: &OsStr) {
        let manager = UnixDatagram::bind_addr(address).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut systemd = Systemd { socket: connect(name).ok(), watchdog: None, ready: false };
        let hear = || {
            let mut heard = [0; 256];
            let length = manager.recv(&mut heard).unwrap();
            String::from_utf8(heard[..length].to_vec()).unwrap()
        };
        // Before READY a reload is no news.
        systemd.reloading();
        systemd.ready();
        systemd.ready();
        systemd.status("two\nlines\n");
        systemd.reloading();
        assert_eq!(hear(), "READY=1\n");
        assert_eq!(hear(), "STATUS=two lines\n");
        let reloading = hear();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    }

    #[test]
    fn sockets_are_paths_or_abstract_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        check(&SocketAddr::from_pathname(&path).unwrap(), path.as_os_str());
        let name = format!("slowburn-test-{}", std::process::id());
        check(&SocketAddr::from_abstract_name(&name).unwrap(), OsStr::new(&format!("@{name}")));
    }
}
