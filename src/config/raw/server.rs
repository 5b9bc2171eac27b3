//! The daemon's own HTTP server.

use crate::config::decode::object;
use crate::config::secret::Secret;
use crate::config::types::Named;

object! {
    "'server'"
    Server {
        /// Address and port of the daemon's own pages and metrics (default 127.0.0.1:9797).
        listen: String;
        /// Certificate and key: the server speaks https.
        tls: ServerTls;
        /// Names and the bcrypt hashes of their passwords ('htpasswd -nBC 10 NAME' makes one). Everything but /-/healthy
        /// and /-/ready then asks who is there.
        basic_auth_users: Named<Secret>;
        /// Whoever sends this as Authorization: Bearer is let in, too: 16 characters or more.
        bearer_token: Secret;
        /// A file that holds it.
        bearer_token_file: String;
    }
}

object! {
    "the 'tls' of 'server'"
    ServerTls {
        /// PEM file with the certificate and those that vouch for it, the server's own first.
        cert_file: String, required;
        /// PEM file with its key.
        key_file: String, required;
    }
}
