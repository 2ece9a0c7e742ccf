# Accounts and teams.
signup-title = Create an account
signup-lead = You need one to join a team and submit. The leaderboard is open to everyone.
signup-button = Create account
signup-have-account = Already have an account?
login-title = Log in
login-no-account = No account yet?
field-name = Name
field-email = Email
field-password = Password
field-password-hint = At least 8 characters. A few unrelated words are easier to remember than symbols.
team-size =
    { $n ->
        [one] { $n } member
       *[other] { $n } members
    }
team-members = Members
team-member = Member
team-captain = Captain
team-role = Role
team-joined = Joined
team-invite = Invite someone
team-invite-lead = Whoever has this code can join the team. Send it only to the people you mean.
team-none-title = You are not in a team yet
team-none-lead = Submissions belong to a team, also if you work alone. Start one, or join one with the code a member gives you.
team-create = Start a team
team-name = Team name
team-name-hint = Shown on the leaderboard.
team-join = Join a team
team-code = Invitation code
team-code-hint = A member finds it on the team page.
account-title = Account
account-sessions = Where you are logged in
account-sessions-lead = End every session you do not recognise, then change your password. The address is shortened: we keep no more of it.
account-device = Browser
account-device-unknown = Unknown browser
account-network = Network
account-started = Logged in
account-seen = Last used
account-this = this one
account-end = Log out
account-end-named = Log out { $device }
account-end-others = Log out everywhere else
account-password = Password
account-password-lead = Changing it logs you out everywhere else.
account-current = Present password
account-new = New password
account-password-button = Set password
account-password-done = The new password is set. All other sessions have ended.
account-session-done = The session has ended.
account-sessions-done = All other sessions have ended.
signup-by-mail = We send a link to this address; with it you choose your password.
signup-mail-button = Send the link
login-forgotten = Forgotten your password?
mailed-title = Look into your mail
mailed-lead = If { $email } can be used here, a mail with the next step is on its way to it.
mailed-hint = The link is good for { $minutes } minutes and for one use. Nothing there? Look in the spam folder, check the address, and try again in a few minutes.
reset-title = Reset your password
reset-lead = Enter the address of your account. We send a link with which you choose a new password.
reset-button = Send the link
reset-no-mail = This installation sends no mail. Ask the organizers: they can set a new password for you.
choose-signup-title = Choose your password
choose-signup-lead = It finishes your account for { $email }.
choose-reset-title = Choose a new password
choose-reset-lead = For the account of { $email }. You will be logged out everywhere else.
mail-signup-subject = Finish your Assay account
mail-signup-body =
    Someone, probably you, asked for an account with this address.

    Choose your password here to finish it:
    { $link }

    The link is good for { $minutes } minutes and for one use. If it was not you, do nothing: no account is made.
mail-signup-known-subject = You already have an Assay account
mail-signup-known-body =
    Someone, probably you, asked for an account with this address. It has one already.

    Log in: { $login }
    Forgotten your password? { $reset }

    If it was not you, do nothing. Nobody was told that this address has an account.
mail-reset-subject = Choose a new Assay password
mail-reset-body =
    Someone, probably you, asked for a new password of this account.

    Choose it here:
    { $link }

    The link is good for { $minutes } minutes and for one use. If it was not you, do nothing: your password stays as it is.
mail-password-changed-subject = Your Assay password was changed
mail-password-changed-body =
    The password of your account at { $site } was just changed, and all other sessions were ended.

    If it was not you, reset it at once and tell the organizers.
