//! Where state is kept.

use crate::config::decode::object;
use crate::engine::time::Duration;

object! {
    "'state'"
    State {
        /// The file, in a directory that the daemon may write; relative to this file. Made if there is none.
        sqlite: String, required;
        /// How long the delivery log is kept (default 30d).
        retention: Duration;
    }
}
