# 리더보드와 측정값의 이름.
board-title = 리더보드
board-formula = 점수 =
board-higher = 높을수록 좋음
board-lower = 낮을수록 좋음
board-floor = 순위 조건:
board-rank = 순위
board-team = 팀
board-score = 점수
board-size = 크기
board-of-base = 기준 대비
board-received = 접수
board-base = 비교 기준 모델
board-unranked = 순위 없음
board-below-floor = 하한 미달:
board-count =
    { $n ->
        [0] 아직 순위에 오른 팀이 없습니다.
       *[other] { $n }개 팀이 순위에 올랐습니다.
    }
board-stderr-note = ±는 표준오차입니다. 팀마다 가장 좋은 제출 하나로 순위를 매깁니다.
board-updated = 최근 결과
board-empty-title = 아직 결과가 없습니다
board-empty-no-contest = 아직 대회가 준비되지 않았습니다. 운영자가 assay-web import-contest contest.toml 명령으로 대회를 등록합니다.
board-empty-visitor = 제출물이 채점되는 대로 결과가 여기에 나타납니다. 계정과 팀을 만들고 체크포인트 폴더를 고르세요. 업로드하기 전에 브라우저에서 먼저 검사합니다.
board-empty-visitor-button = 계정 만들기
board-empty-no-team = 혼자 참가하더라도 제출하려면 팀이 필요합니다. 팀을 새로 만들거나 초대 코드로 참여하세요.
board-empty-no-team-button = 팀 만들기 또는 참여하기
board-empty-ready = 제출물이 채점되는 대로 결과가 여기에 나타납니다. 체크포인트 폴더를 고르세요. 업로드하기 전에 브라우저에서 먼저 검사합니다.
board-empty-ready-button = 체크포인트 제출하기
measure-bytes = 크기
measure-time-per-token = 토큰당 시간
measure-tokens-per-second = 속도
measure-load-seconds = 불러오기
measure-wall-seconds = 전체
measure-peak-memory = 최대 메모리
