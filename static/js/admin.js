// The organizer's desk follows what happens. Read from its own address: after a form this page may be at the form's.

import { refreshRegion, whileVisible } from './refresh.js';

whileVisible(5, () => refreshRegion('desk', '/admin'));
