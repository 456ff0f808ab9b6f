//! Signed webhooks: what is sent, where it may be sent, and how.
