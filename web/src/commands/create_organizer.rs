//! `assay-web create-organizer`.

use std::io;

use anyhow::Context as _;

use crate::auth::password::{Passwords, Verdict};
use crate::db::audit::{self, Entry, Origin};
use crate::db::{people, sessions, users};
use crate::domain::{Email, Password, Refused, UserName};
use crate::settings::StoreSettings;

/// What it needs.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreSettings,
    /// Address to log in with.
    #[arg(long)]
    email: String,
    /// Display name.
    #[arg(long)]
    name: String,
    /// Give the role of an admin, who may change others' roles.
    #[arg(long)]
    admin: bool,
}

/// Makes the account, or gives an existing one the role and the password. Running it again changes nothing.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let email = Email::parse(&arguments.email).map_err(|fault| refuse("--email", &fault))?;
    let name = UserName::parse(&arguments.name).map_err(|fault| refuse("--name", &fault))?;
    let typed = read_password()?;
    let password =
        Password::parse_new(&typed, email.as_str(), name.as_str()).map_err(|fault| refuse("password", &fault))?;

    let pool = super::open(&arguments.store).await?;
    let passwords = Passwords::new(1)?;
    let hash = passwords.hash(&password).await?;
    let mut transaction = pool.begin().await?;
    let role = if arguments.admin { "admin" } else { "organizer" };
    let user = match users::credentials(&mut *transaction, &email).await? {
        None => users::insert(&mut *transaction, &email, &name, &hash, role, "ko").await?,
        Some(found) => {
            users::make_organizer(&mut *transaction, found.id).await?;
            if arguments.admin {
                people::set_role(&mut transaction, found.id, role).await?;
            }
            if passwords.verify(&password, Some(found.password_hash)).await? == Verdict::Wrong {
                users::set_password_hash(&mut *transaction, found.id, &hash).await?;
                // Whoever knew the old password is out.
                sessions::delete_of_user(&mut *transaction, found.id).await?;
            }
            found.id
        }
    };
    let object = format!("user:{user}");
    let entry = Entry::new("organizer.created", &object);
    audit::record(&mut *transaction, &Origin::system(), entry).await?;
    transaction.commit().await?;
    println!("{} is an {role}", email.as_str());
    Ok(())
}

fn refuse(what: &str, fault: &Refused) -> anyhow::Error {
    anyhow::anyhow!("{what}: {} ({})", fault.message, fault.code)
}

fn read_password() -> anyhow::Result<String> {
    if let Ok(password) = std::env::var("ASSAY_PASSWORD") {
        return Ok(password);
    }
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .context("cannot read the password from standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
