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
field-password-hint = At least 10 characters. A few unrelated words are easier to remember than symbols.
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
