# Submissions: the list, the stages, the report.
submission = Submission
submission-state = State
submission-received = received
submissions-new = New submission
submissions-empty-title = Nothing submitted yet
submissions-empty-lead = Choose your checkpoint folder: you see its exact weight and whether it is valid before anything is uploaded.
quota-used = { $used } of { $limit } scores used today.
quota-resets = Resets at
quota-rule = Only a published score counts; rejected, failed and cancelled submissions are free.
state-draft = Draft
state-received = Received
state-queued = Queued
state-running = Grading
state-graded = Graded
state-rejected = Rejected
state-failed = Failed
state-cancelled = Cancelled
stages-label = Stages
stage-received = Received
stage-queued = Queued
stage-fetch = Fetching files
stage-verify = Verifying
stage-weigh = Weighing
stage-load = Loading
stage-prompts = Building prompts
stage-evaluate = Evaluating
stage-samples = Samples
stage-report = Report
stage-attempt = attempt { $n } of { $limit }
stage-worker = Worker: { $name }
step-waiting = waiting
step-running = in progress
step-done = done
step-stopped = stopped here
step-skipped = skipped
now-draft = Waiting for the rest of its files.
now-queued = { $n ->
    [one] One submission is before this one.
   *[other] { $n } submissions are before this one.
    }
now-queued-next = Next in line.
now-queued-plain = Waiting for a free worker.
now-fetch = The worker fetches the files
now-verify = Tensors, scales and configuration are checked
now-weigh = Bytes are counted
now-load = The model is loaded
now-evaluate = The model answers
now-samples = The sample prompts are answered
now-report = The report is written
end-graded = Graded. The score is on the board if it meets the floor.
end-rejected = The checkpoint breaks a rule of the contest. It used no quota.
end-failed = Grading did not finish. It used no quota.
end-cancelled = Withdrawn. It used no quota.
live-open = Live
live-lost = Connection lost, trying again
live-over = Complete
live-refresh = Refresh to see how far it is
draft-title = The upload is not finished
draft-lead = Choose the same folder again: the upload goes on where it stopped, nothing is sent twice.
draft-button = Go on with the upload
draft-discard = Discard the draft
report-waiting = The report appears here when grading is done.
report-score = Score
report-rank = Rank { $rank }
report-band = may be { $band }
report-score-public = On the public documents alone: { $score }
report-formula = How it comes about
report-verdict = Verdict
verdict-accepted = Accepted
verdict-rejected = Rejected
report-findings =
    { $n ->
        [one] One finding that breaks no rule
       *[other] { $n } findings that break no rule
    }
report-hints = Ways to be smaller
report-weight = Weight
report-accuracy = Accuracy
report-accuracy-note = The bar is the { $percent } % interval, the upright line the base model; ● counts for score or floor.
report-times = Speed and memory
report-stages = Time by stage
report-samples = Sample generations
report-samples-note = Marked from where the two part.
report-certificate = Certificate
certificate-lead = Whoever grades the same files by the same rules on the same class of device gets the same digest. Compare it at home:
certificate-parts = What it is made of
certificate-unsound = The digest is not that of the parts below.
certificate-diff = Where two grades differ, item by item:
report-provenance = How it was graded
weight-map = Weight by tensor group, as areas; the table below has the same figures
weight-map-base = The whole area is the base model, { $size }.
weight-map-own = The whole area is this checkpoint; the base model has { $size }.
weight-saved = Saved
weight-bits = { $all } bits per parameter of the whole model; { $linear } in the matrices of the layers.
memory-title = Memory on a device
memory-note = About { $total } for a conversation of { $context } tokens: weights { $weights }, KV cache { $kv }, activations { $working }. Predicted, not measured.
memory-device = Device
memory-has = Memory
memory-price = Per hour
memory-fits = Fits
memory-yes = yes
memory-no = no
memory-longest = Longest context
weight-of-base = { $share } of the base model
weight-group = Tensor group
weight-share = Share
weight-total = All weight files
lineage-title = Lineage of the weights
lineage-good = Every matrix is the base model's, compressed as declared.
lineage-bad =
    { $n ->
        [one] One matrix of { $all } is not what compressing the base model gives.
       *[other] { $n } matrices of { $all } are not what compressing the base model gives.
    }
lineage-matrix = Matrix
lineage-layer = Layer { $n }
lineage-is = is the base's { $n }
lineage-note = Figures are relative errors in percent, ‖W′ − W‖ / ‖W‖. The darker, the more of what the scheme explains; beyond that the cell is marked ▲.
lineage-dropped = Layers of the base that are not here: { $layers }.
lineage-error = relative error { $value }
lineage-band = the scheme explains { $value }
lineage-scales = { $value } of the scales are what the base gives
lineage-codes = { $value } of the codes are the nearest
lineage-factor = scales times { $value }
lineage-zeros = { $value } zeros
lineage-from = is layer { $value } of the base
lineage-kept = kept { $value }
relation-same = Unchanged
relation-same-means = the base's, value for value
relation-rounded = Rounded
relation-rounded-means = scales and codes are what rounding the base to nearest gives
relation-compensated = Compensated
relation-compensated-means = the base's scales, codes chosen by a method that makes up for errors, such as GPTQ
relation-tuned = Tuned
relation-tuned-means = scales chosen by the method, never above the base's, such as AutoRound
relation-folded = Folded
relation-folded-means = rows or columns scaled before quantizing, such as AWQ
relation-rescaled = Rescaled
relation-rescaled-means = every scale is the base's times one factor
relation-pruned = Pruned
relation-pruned-means = weights set to zero, the others are the base's
relation-changed = Changed
relation-changed-means = close to the base's, and not what the scheme makes of them: trained, merged or edited
relation-replaced = Replaced
relation-replaced-means = not the base's
relation-resized = Resized
relation-resized-means = another shape, and no selection of the base's rows
relation-unplaced = Unknown layer
relation-unplaced-means = a layer that is none of the base's
group-embedding = Embedding
group-head = Output head
group-attention = Attention
group-mlp = MLP
group-norms = Norms
group-scales = Scales
group-zero-points = Zero points
group-shapes = Shapes
group-indices = Indices
group-header = Headers
group-other = Other
metric = Metric · filter
value = Value
base-model = Base
difference = Difference
public-part = Public part
counts = counts for the score
sample-prompt = Prompt
sample-text = This submission
sample-base = Base model
sample-same = same as the base
fact-engine = Engine
fact-device = Device
fact-profile = Profile
fact-rules = Rules (digest)
fact-checkpoint = Checkpoint
fact-tasks = Tasks
fact-shaders = Shaders
fact-precision = Arithmetic
fact-answers = All answers
fact-outputs = Raw outputs
outputs-sealed = Available once the sealed documents are revealed.
files-title = Files
files-count =
    { $n ->
        [one] { $n } file
       *[other] { $n } files
    }
files-name = Name
files-bytes = Bytes
now-wait = { $minutes ->
    [one] Expected to begin within a minute.
   *[other] Expected to begin in about { $minutes } minutes.
    }
interim-note = So far, of the documents answered up to now. It is not final and ranks nobody.
