# The leaderboard and the names of measures.
board-title = Leaderboard
board-formula = Score =
board-higher = higher is better
board-lower = lower is better
board-floor = Ranked only with
board-rank = Rank
board-team = Team
board-score = Score
board-size = Size
board-of-base = of base
board-received = Received
board-base = Base model, for reference
board-unranked = Not ranked
board-below-floor = Below the floor:
board-count =
    { $n ->
        [0] No team is ranked yet.
        [one] { $n } team is ranked.
       *[other] { $n } teams are ranked.
    }
board-stderr-note = ± is one standard error. A team stands with its best submission.
board-updated = Newest result
board-empty-title = No results yet
board-empty-no-contest = No contest has been set up. The organizer imports one with assay-web import-contest contest.toml.
board-empty-visitor = Results appear here as soon as a submission is graded. Create an account, start a team and choose your checkpoint folder: it is checked in the browser before anything is uploaded.
board-empty-visitor-button = Create an account
board-empty-no-team = You need a team to submit, also if you work alone. Start one, or join one with an invitation code.
board-empty-no-team-button = Start or join a team
board-empty-ready = Results appear here as soon as a submission is graded. Choose your checkpoint folder: it is checked in the browser before anything is uploaded.
board-empty-ready-button = Submit a checkpoint
measure-bytes = Size
measure-time-per-token = Time per token
measure-tokens-per-second = Speed
measure-load-seconds = Loading
measure-wall-seconds = In total
measure-peak-memory = Peak memory
