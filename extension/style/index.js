import './base.css';
import './panel.css';
import './log.css';
import './page.css';
import './provenance.css';
