//! Words of the outbox.

use super::credential::words;

words! {
    /// Where a mail stands.
    MailState {
        /// It waits for its time.
        Due = "due",
        /// A node works on it; the server has not been given the message.
        Claimed = "claimed",
        /// The server is being given the message: if the process ends now, nobody knows.
        Sending = "sending",
        /// The server took it.
        Sent = "sent",
        /// Nobody knows whether the server took it. Once, it is sent again.
        Unknown = "unknown",
        /// It was refused, or given up.
        Failed = "failed",
        /// It became pointless before it was sent.
        Withdrawn = "withdrawn",
    }

    /// What a mail is about.
    MailKind {
        /// An operator tries whether mail arrives.
        Test = "test",
        /// A contact is asked to hand in a credential.
        Invite = "invite",
        /// What was handed in works.
        Verified = "verified",
        /// What was handed in does not work yet.
        Failed = "failed",
    }

    /// Why an attempt came to nothing.
    MailFault {
        /// No connection to the server.
        Unreachable = "unreachable",
        /// The server has no TLS, or no certificate that is trusted here.
        Tls = "tls",
        /// The server does not take this user and password.
        SignIn = "sign-in",
        /// The server does not take this sender.
        Sender = "sender",
        /// The server does not take mail for this recipient.
        Recipient = "recipient",
        /// The server does not take this message.
        Message = "message",
        /// The server did not answer in time, or the connection broke.
        BrokenOff = "broken-off",
        /// The process ended in the middle.
        Interrupted = "interrupted",
        /// The mail cannot be written: it does not open, or an address is not one.
        Unwritable = "unwritable",
        /// It was tried for days.
        TooOld = "too-old",
    }
}
