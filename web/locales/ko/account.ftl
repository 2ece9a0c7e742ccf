# 계정과 팀.
signup-title = 계정 만들기
signup-lead = 팀에 참여하고 제출하려면 계정이 필요합니다. 리더보드는 누구나 볼 수 있습니다.
signup-button = 계정 만들기
signup-have-account = 이미 계정이 있나요?
login-title = 로그인
login-no-account = 아직 계정이 없나요?
field-name = 이름
field-email = 이메일
field-password = 비밀번호
field-password-hint = 8자 이상이어야 합니다. 기호보다 서로 관련 없는 단어 몇 개가 외우기 쉽습니다.
team-size = 팀원 { $n }명
team-members = 팀원
team-member = 팀원
team-captain = 팀장
team-role = 역할
team-joined = 참여한 때
team-invite = 초대하기
team-invite-lead = 이 코드를 아는 사람은 누구나 팀에 참여할 수 있습니다. 초대할 사람에게만 보내세요.
team-none-title = 아직 소속된 팀이 없습니다
team-none-lead = 혼자 참가하더라도 제출은 팀 단위로 합니다. 팀을 새로 만들거나, 팀원에게 받은 코드로 참여하세요.
team-create = 팀 만들기
team-name = 팀 이름
team-name-hint = 리더보드에 표시됩니다.
team-join = 팀에 참여하기
team-code = 초대 코드
team-code-hint = 팀원의 팀 페이지에 있습니다.
account-title = 내 계정
account-sessions = 로그인된 곳
account-sessions-lead = 모르는 세션이 있으면 로그아웃시키고 비밀번호를 바꾸세요. 네트워크 주소는 앞부분만 보관합니다.
account-device = 브라우저
account-device-unknown = 알 수 없는 브라우저
account-network = 네트워크
account-started = 로그인한 때
account-seen = 마지막 사용
account-this = 현재 세션
account-end = 로그아웃
account-end-named = { $device } 로그아웃
account-end-others = 다른 곳에서 모두 로그아웃
account-password = 비밀번호
account-password-lead = 비밀번호를 바꾸면 다른 곳에서는 모두 로그아웃됩니다.
account-current = 현재 비밀번호
account-new = 새 비밀번호
account-password-button = 비밀번호 설정
account-password-done = 새 비밀번호를 설정했습니다. 다른 세션은 모두 종료되었습니다.
account-session-done = 세션을 종료했습니다.
account-sessions-done = 다른 세션을 모두 종료했습니다.
signup-by-mail = 이 주소로 링크를 보내 드립니다. 링크를 열어 비밀번호를 정하면 됩니다.
signup-mail-button = 링크 받기
login-forgotten = 비밀번호를 잊으셨나요?
mailed-title = 메일을 확인하세요
mailed-lead = { $email } 주소를 사용할 수 있다면 다음 단계를 안내하는 메일이 곧 도착합니다.
mailed-hint = 링크는 { $minutes }분 동안 한 번만 쓸 수 있습니다. 메일이 보이지 않으면 스팸함과 주소를 확인하고 몇 분 뒤에 다시 시도하세요.
reset-title = 비밀번호 재설정
reset-lead = 계정의 이메일 주소를 입력하세요. 새 비밀번호를 정할 수 있는 링크를 보내 드립니다.
reset-button = 링크 받기
reset-no-mail = 이 서버는 메일을 보내지 않습니다. 운영진에게 새 비밀번호를 요청하세요.
choose-signup-title = 비밀번호 정하기
choose-signup-lead = { $email } 계정을 완성합니다.
choose-reset-title = 새 비밀번호 정하기
choose-reset-lead = { $email } 계정의 비밀번호입니다. 다른 곳에서는 모두 로그아웃됩니다.
mail-signup-subject = Assay 계정을 완성하세요
mail-signup-body =
    이 주소로 계정을 만들어 달라는 요청이 있었습니다.

    아래 링크에서 비밀번호를 정하면 계정이 완성됩니다.
    { $link }

    링크는 { $minutes }분 동안 한 번만 쓸 수 있습니다. 요청한 적이 없다면 무시하세요. 계정은 만들어지지 않습니다.
mail-signup-known-subject = 이미 Assay 계정이 있습니다
mail-signup-known-body =
    이 주소로 계정을 만들어 달라는 요청이 있었지만, 이미 계정이 있습니다.

    로그인: { $login }
    비밀번호를 잊으셨나요? { $reset }

    요청한 적이 없다면 무시하세요. 이 주소에 계정이 있다는 사실은 아무에게도 알려지지 않았습니다.
mail-reset-subject = Assay 비밀번호를 새로 정하세요
mail-reset-body =
    이 계정의 비밀번호를 새로 정하겠다는 요청이 있었습니다.

    아래 링크에서 정하세요.
    { $link }

    링크는 { $minutes }분 동안 한 번만 쓸 수 있습니다. 요청한 적이 없다면 무시하세요. 비밀번호는 바뀌지 않습니다.
mail-password-changed-subject = Assay 비밀번호가 바뀌었습니다
mail-password-changed-body =
    { $site } 계정의 비밀번호가 방금 바뀌었고, 다른 세션은 모두 종료되었습니다.

    본인이 한 일이 아니라면 바로 비밀번호를 재설정하고 운영진에게 알리세요.
