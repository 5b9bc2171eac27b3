//! The daemon's own HTTP server: where it listens, and who is let in.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::decode::{Field, Spanned, clipped};
use crate::config::diagnostic::Diagnostic;
use crate::config::secret::Secret;
use crate::config::types::Named;
use crate::config::{Access, Server, ServerTls, raw};

use super::http::{pem, secret};
use super::{Context, Secrets};

const DEFAULT_PORT: u16 = 9797;
/// Far more than anybody writes down by hand.
const MAX_USERS: usize = 100;
/// As bcrypt has it.
const MIN_COST: u32 = 4;
/// Verifying a password takes about a second at this cost, and twice as long at each further one.
const MAX_COST: u32 = 14;
/// Shorter tokens can be found by trying.
const SHORTEST_TOKEN: usize = 16;

pub(super) fn server(raw: Option<&raw::Server>, context: &mut Context<'_>) -> Server {
    let default =
        Server { listen: SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)), tls: None, access: Access::default() };
    let Some(raw) = raw else { return default };
    let server = Server {
        listen: listen(&raw.listen, context).unwrap_or(default.listen),
        tls: raw.tls.value().and_then(|raw| tls(raw, context)),
        access: Access { users: users(&raw.basic_auth_users, context), bearer_token: token(raw, context) },
    };
    if let Some(Spanned { span, .. }) = raw.listen.get().filter(|_| !server.listen.ip().is_loopback()) {
        let address = server.listen;
        // What is given and broken has been reported.
        let guarded =
            [raw.basic_auth_users.is_absent(), raw.bearer_token.is_absent(), raw.bearer_token_file.is_absent()]
                .contains(&false);
        if !guarded {
            let message = format!("{address} can be reached from other machines, and there is no authentication");
            let help = "whoever reaches it can read everything, and from other machines nobody can write; \
                        add server.basic_auth_users or server.bearer_token_file, or listen on 127.0.0.1";
            context.findings.add(Diagnostic::warning(*span, message).help(help));
        } else if raw.tls.is_absent() {
            let message =
                format!("{address} can be reached from other machines, and credentials go there in the clear");
            context.findings.add(Diagnostic::warning(*span, message).help("add server.tls: {cert_file, key_file}"));
        }
    }
    server
}

fn listen(field: &Field<String>, context: &mut Context<'_>) -> Option<SocketAddr> {
    let listen = field.get()?;
    let address = listen.value.parse::<SocketAddr>();
    if address.is_err() {
        let message = format!("'{}' is not an address and a port", clipped(&listen.value));
        let help = format!("write '127.0.0.1:{DEFAULT_PORT}', or '[::1]:{DEFAULT_PORT}'");
        context.findings.add(Diagnostic::error(listen.span, message).help(help));
    }
    address.ok()
}

fn tls(raw: &raw::ServerTls, context: &mut Context<'_>) -> Option<ServerTls> {
    let certificate = raw.cert_file.get().and_then(|path| pem(path, "CERTIFICATE", context));
    let key = raw.key_file.get().and_then(|path| pem(path, "PRIVATE KEY", context));
    let tls = ServerTls { cert_pem: certificate?, key_pem: Secret::new(key?) };
    // What is made up fits nothing.
    if context.secrets == Secrets::Needed
        && let Err(why) = tls.for_rustls()
    {
        context.findings.error(raw.at, format!("the certificate and the key cannot be used: {why}"));
        return None;
    }
    Some(tls)
}

fn users(field: &Field<Named<Secret>>, context: &mut Context<'_>) -> BTreeMap<String, Secret> {
    let given = field.value().map_or(&[][..], |named| &named.0);
    if let (Some(key), true) = (field.key(), given.is_empty()) {
        context.findings.error(key, "there is no user in 'basic_auth_users', so nobody would be asked who they are");
    }
    if let Some((name, _)) = given.get(MAX_USERS) {
        context.findings.error(name.span, format!("more than {MAX_USERS} users"));
    }
    for (name, hash) in given {
        if name.value.is_empty() || name.value.contains(':') || name.value.chars().any(char::is_control) {
            context.findings.error(name.span, "a user's name is not empty and holds no ':'");
        }
        let why = match hash.value.expose().parse::<bcrypt::HashParts>() {
            Ok(hash) if (MIN_COST..=MAX_COST).contains(&hash.get_cost()) => continue,
            Ok(hash) => format!("its cost of {} is not between {MIN_COST} and {MAX_COST}", hash.get_cost()),
            Err(_) => "this is not a bcrypt hash".to_owned(),
        };
        let message = format!("the password of '{}' cannot be checked: {why}", clipped(&name.value));
        let help = "write what 'htpasswd -nBC 10 NAME' prints after the colon: $2y$10$ and 53 characters";
        context.findings.add(Diagnostic::error(hash.span, message).help(help));
    }
    given.iter().map(|(name, hash)| (name.value.clone(), hash.value.clone())).collect()
}

fn token(raw: &raw::Server, context: &mut Context<'_>) -> Option<Secret> {
    let (token, at) = secret("bearer_token", &raw.bearer_token, &raw.bearer_token_file, context)?;
    if token.expose().chars().count() < SHORTEST_TOKEN {
        let message = format!("a bearer token of fewer than {SHORTEST_TOKEN} characters can be guessed");
        context.findings.add(Diagnostic::error(at, message).help("make one with: openssl rand -hex 32"));
    } else if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        context.findings.error(at, "a bearer token holds visible ASCII characters only, and no space");
    }
    Some(token)
}
