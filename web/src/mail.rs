//! Mail: over SMTP, into a folder while developing, or none at all. Everything a link in a mail can do is in
//! [`crate::db::mail_links`]; what the mails say is in `locales/*/account.ftl`.

use std::time::Duration;

use anyhow::Context as _;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp;
use lettre::{AsyncFileTransport, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use crate::domain::Email;
use crate::i18n::{self, Arg, Locale};

/// Waits before a server that is away, or busy, or wants to be asked again is asked again.
const AGAIN_AFTER: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(20),
    Duration::from_secs(180),
];

/// How mail leaves, if it does.
pub struct Mailer {
    way: Way,
    from: Mailbox,
}

enum Way {
    None,
    Folder(AsyncFileTransport<Tokio1Executor>),
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
}

/// What a mail is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// A link that finishes a sign-up.
    Signup,
    /// Someone tried to sign up with an address that has an account.
    SignupKnown,
    /// A link that sets a new password.
    Reset,
    /// The password was changed.
    PasswordChanged,
}

impl Letter {
    fn key(self) -> &'static str {
        match self {
            Letter::Signup => "mail-signup",
            Letter::SignupKnown => "mail-signup-known",
            Letter::Reset => "mail-reset",
            Letter::PasswordChanged => "mail-password-changed",
        }
    }
}

impl Mailer {
    /// From `smtp://…`, `smtps://…` or `file:FOLDER`; nothing: no mail is ever sent. `from` is a mailbox such as
    /// `Assay <no-reply@example.org>`.
    pub fn open(address: Option<&str>, from: &str) -> anyhow::Result<Mailer> {
        let from = from
            .parse()
            .with_context(|| format!("--mail-from must be like `Assay <no-reply@example.org>`: {from}"))?;
        let way = match address {
            None => Way::None,
            Some(address) => match address.strip_prefix("file:") {
                Some(folder) => {
                    std::fs::create_dir_all(folder)
                        .with_context(|| format!("cannot make the folder for mail {folder}"))?;
                    Way::Folder(AsyncFileTransport::new(folder))
                }
                // The address may hold a password: it is not repeated in the error.
                None => Way::Smtp(
                    AsyncSmtpTransport::<Tokio1Executor>::from_url(address)
                        .map_err(|_| anyhow::anyhow!("--mail must be like smtps://user:password@host or file:FOLDER"))?
                        .build(),
                ),
            },
        };
        Ok(Mailer { way, from })
    }

    /// Can mail be sent at all?
    #[must_use]
    pub fn works(&self) -> bool {
        !matches!(self.way, Way::None)
    }

    /// Sends `letter` in the reader's language. `arguments` fill its placeholders (`link`, `minutes`, …).
    pub async fn send(
        &self,
        to: &Email,
        locale: Locale,
        letter: Letter,
        arguments: &[(&str, &dyn Arg)],
    ) -> anyhow::Result<()> {
        let subject = i18n::t(locale, &format!("{}-subject", letter.key()), arguments);
        let body = i18n::t(locale, &format!("{}-body", letter.key()), arguments);
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(
                None,
                to.as_str().parse().context("an address no mail can be sent to")?,
            ))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(body)?;
        match &self.way {
            Way::None => {}
            Way::Folder(folder) => drop(folder.send(message).await.context("the mail could not be written")?),
            Way::Smtp(smtp) => deliver(smtp, message).await.context("the mail could not be sent")?,
        }
        Ok(())
    }
}

/// Hands a message over; what may pass is waited for, what the server refuses for good is not.
async fn deliver(server: &AsyncSmtpTransport<Tokio1Executor>, message: Message) -> Result<(), smtp::Error> {
    for pause in AGAIN_AFTER {
        match server.send(message.clone()).await {
            Err(error) if !error.is_permanent() => {
                tracing::warn!(error = format!("{error:#}"), "a mail waits for its server");
                tokio::time::sleep(pause).await;
            }
            sent => return sent.map(drop),
        }
    }
    server.send(message).await.map(drop)
}
