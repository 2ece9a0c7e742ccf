// The organizer's desk follows what happens.

import { refreshRegion, whileVisible } from './refresh.js';

whileVisible(5, () => refreshRegion('desk'));
