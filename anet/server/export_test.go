package server

// Addr returns where a started server listens, which the API does not tell.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener.Addr().String()
}
