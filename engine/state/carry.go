package state

// AppendTask appends a task, without its ID, in the form in which it is stored.
func AppendTask(b []byte, t *Task) []byte { return t.append(b) }

// DecodeTask reads what [AppendTask] wrote. Nothing of b is kept.
func DecodeTask(id TaskID, b []byte) (*Task, error) {
	return (&Store{messages: map[string]string{}}).decodeTask(string(id), b)
}

// AppendTemplate appends a template, without its service and version, in the form
// in which it is stored.
func AppendTemplate(b []byte, t *Template) []byte { return t.append(b) }

// DecodeTemplate reads what [AppendTemplate] wrote. Nothing of b is kept.
func DecodeTemplate(service ServiceID, version uint64, b []byte) (*Template, error) {
	return decodeTemplate(templateID(service, version), b)
}
