//! A message in the user's own words.

use crate::config::decode::object;

object! {
    "'template'"
    Template {
        /// The headline: Slack's header, PagerDuty's summary, a mail's subject. Jinja, as docs/templates.md says.
        title: String;
        /// A file that holds it.
        title_file: String;
        /// The text below: Slack's mrkdwn, PagerDuty's details, a mail's text.
        text: String;
        /// A file that holds it.
        text_file: String;
        /// A mail's page; values in it are escaped.
        html: String;
        /// A file that holds it.
        html_file: String;
        /// A webhook's whole body: JSON.
        body: String;
        /// A file that holds it.
        body_file: String;
        /// Slack's blocks instead of header and text: a JSON list.
        blocks: String;
        /// A file that holds it.
        blocks_file: String;
    }
}
