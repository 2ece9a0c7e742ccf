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
board-floor-bound = lower bound of
board-band = between { $band }
board-band-title = Drawing the documents anew { $resamples } times, this team stood at these ranks { $percent } % of the time. The link compares it with its neighbour.
board-public = public part { $score }
board-public-rank = public part { $score }, rank { $rank }
board-resolve = Smaller differences than these may be chance:
board-count =
    { $n ->
        [0] No team is ranked yet.
        [one] { $n } team is ranked.
       *[other] { $n } teams are ranked.
    }
board-interval-note = Under each accuracy stands its { $percent } % interval, under each rank the ranks it may as well have. A team stands with its best submission.
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
measure-peak-device-memory = Peak device memory
measure-generated-tokens = Tokens generated
measure-item-seconds-mean = Per item, mean
measure-item-seconds-p50 = Per item, median
measure-item-seconds-p90 = Per item, 90 %
measure-item-seconds-p99 = Per item, 99 %
rate-truncated = cut off
rate-no-answer = no answer
rate-repetition = repeating
sealing-hidden = Some documents of each task are sealed until the organizer reveals them. Everything shown here is of the public ones; time and memory are of the whole run.
sealing-all = The sealed documents are revealed: scores are of all documents, those of the public part beside them.
sealing-sealed = The sealed documents are revealed: scores are of those alone, those of the public part beside them.
sealing-list = Which documents they are
compare-title = Comparison
compare-lead = The same documents, answered by both. Only those that one got right and the other did not say which is better.
compare-form = Compare two submissions
compare-first = First
compare-second = Second
compare-button = Compare
compare-swap = Swap
compare-with = Compare with
compare-link = Compare { $a } with { $b }
compare-both-right = Both right
compare-only = Only { $name }
compare-neither = Both wrong
compare-difference = Difference
compare-p = p
compare-p-title = Probability of a split at least this uneven if both were equally good (McNemar, exact)
compare-verdict-differ = Different at the { $percent } % level
compare-verdict-same = Not told apart
compare-none = These two have no documents in common: nothing can be compared.
compare-note = Difference and its { $percent } % interval are of the first minus the second. With many rows some p below 0.05 come by chance.
