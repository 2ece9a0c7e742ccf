// Runs before the page is painted: says that scripts run, so that what needs them keeps its room without a flash.
document.documentElement.classList.add('js');
